"""A delivery has its account's number and its message's size from the moment it is open, however it is opened."""

from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from dispatcher.webhooks.sample_event import call_webhook
from schedules.timing import REAL_TIME
from tests.factories import TESTER, change, deliveries, make_account, make_webhook, redeliver_more, rows
from tests.installations import installation_for

MESSAGE = {"id": "7", "body": "größer"}
SAMPLE = '{"id":"7","body":"größer"}'.encode()
SIZE = len(SAMPLE)


@pytest.fixture
def number(database: Engine, settings: Settings) -> int:
    """Of acme, which is not the first account."""
    make_account(database, "another")
    make_webhook(database, settings, url="https://example.com/", account="another")
    make_webhook(database, settings, url="https://example.com/", name="one")
    make_webhook(database, settings, url="https://example.com/", name="two")
    numbers = {row.name: row.number for row in rows(database, "SELECT name, number FROM dispatcher.accounts")}
    assert numbers["acme"] != numbers["another"]
    return int(numbers["acme"])


def columns(database: Engine) -> list[tuple[int, int]]:
    return [(row.account_no, row.size) for row in deliveries(database)]


def closed_by_an_older_version(database: Engine) -> None:
    change(
        database,
        "UPDATE dispatcher.deliveries"
        " SET state = 'discarded', reason = 'rejected', finished_at = now(), account_no = 0",
    )


def stored_size(database: Engine) -> int:
    (row,) = rows(database, "SELECT DISTINCT octet_length(data) AS size FROM dispatcher.events")
    return int(row.size)


def test_an_event_alone(database: Engine, number: int) -> None:
    enqueue("a", MESSAGE, account="acme", idempotency_key="k")
    assert enqueue("a", MESSAGE, account="acme", idempotency_key="k").repeated
    assert columns(database) == [(number, SIZE)] * 2
    assert stored_size(database) == SIZE


def test_an_event_in_the_callers_transaction(database: Engine, number: int) -> None:
    with Session(database) as session, session.begin():
        enqueue("a", MESSAGE, account="acme", session=session)
    assert columns(database) == [(number, SIZE)] * 2


def test_each_of_many_events_of_several_accounts(database: Engine, number: int) -> None:
    (another,) = rows(database, "SELECT number FROM dispatcher.accounts WHERE name = 'another'")
    messages: list[tuple[str, Any]] = [("acme", MESSAGE), ("another", 1), ("acme", "ä")]
    list(enqueue_many(Event(type="a", data=data, account=account) for account, data in messages))
    assert sorted(columns(database)) == sorted([(number, SIZE)] * 2 + [(another.number, 1)] + [(number, 4)] * 2)


def test_a_sample_event(database: Engine, settings: Settings, number: int) -> None:
    (webhook,) = rows(database, "SELECT id, account_id FROM dispatcher.webhooks WHERE name = 'one'")
    call_webhook(installation_for(settings), webhook.account_id, webhook.id, by=TESTER, data=SAMPLE)
    assert columns(database) == [(number, SIZE)]
    assert stored_size(database) == SIZE


def test_a_redelivery_of_what_an_older_version_stored_gets_the_number(database: Engine, number: int) -> None:
    enqueue("a", MESSAGE, account="acme")
    closed_by_an_older_version(database)
    change(database, "UPDATE dispatcher.webhooks SET account_no = 0")
    with Session(database) as session, session.begin():
        redeliver(session, find_account(session, "acme"), deliveries(database)[0].id, REAL_TIME, by=TESTER)
    assert sorted(row.account_no for row in deliveries(database)) == [0, number]


def test_so_does_each_of_a_bulk_redelivery(database: Engine, settings: Settings, number: int) -> None:
    enqueue("a", MESSAGE, account="acme")
    closed_by_an_older_version(database)
    change(database, "UPDATE dispatcher.webhooks SET account_no = 0")
    with Session(database) as session, session.begin():
        order(session, find_account(session, "acme"), Selection(), by=TESTER, per_second=1000)
    change(database, "UPDATE dispatcher.redeliveries SET used_until = used_until - interval '10 seconds'")
    assert redeliver_more(settings)["redelivered"] == 2
    assert [row.account_no for row in deliveries(database)] == [number] * 2
