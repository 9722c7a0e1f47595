"""What the records tell, beyond what the commands' tests show: unknown outcomes, dropped events, stored forms."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.history import find_delivery, get_delivery, list_deliveries, log_of_webhook, states_of_event
from dispatcher.deliveries.records import LoggedDelivery
from dispatcher.errors import ConfigurationError, NotFound, UnknownAccount
from dispatcher.events import history
from dispatcher.events.history import get_event, list_events
from dispatcher.ids import new_id, time_of
from dispatcher.settings import Settings
from dispatcher.states import Reason, State
from tests.factories import change, deliver_all, deliveries, make_account, make_webhook, rows
from tests.many_rows import make_many, reading_less_than
from tests.receiver import Receiver


def test_an_attempt_whose_worker_died_is_among_the_attempts(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/status/503"))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    change(
        database,
        "INSERT INTO dispatcher.attempts (id, delivery_id, number, outcome_unknown) VALUES (:id, :delivery, 2, true)",
        id=new_id(),
        delivery=delivery.id,
    )
    with Session(database) as session:
        record = get_delivery(session, find_account(session, "acme"), delivery.id)
    first, second = record.attempts
    assert (first.number, first.status, first.outcome_unknown) == (1, 503, False)
    assert (second.number, second.request_id, second.outcome_unknown) == (2, None, True)


def test_a_delivery_whose_event_is_no_longer_kept_is_still_reported(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    enqueue("message.sent", 1, account="acme")
    change(database, "DELETE FROM dispatcher.events")
    with Session(database) as session:
        account = find_account(session, "acme")
        (line,) = list_deliveries(session, account).deliveries
        record = get_delivery(session, account, line.id)
    assert line.event_type is None
    assert (record.delivery, record.event) == (line, None)


def test_every_delivery_of_an_event_is_reported_however_many(database: Engine, settings: Settings) -> None:
    for _ in range(60):
        make_webhook(database, settings, url="https://example.com/")
    event_id = enqueue("message.sent", b'{"a" : 1}', account="acme").event_id
    with Session(database) as session:
        account = find_account(session, "acme")
        record = get_event(session, account, event_id)
        rest = get_event(session, account, event_id, before=record.page.before)
        states = states_of_event(session, event_id)
    assert record.data == b'{"a" : 1}'
    assert len({line.id for line in (*record.page.deliveries, *rest.page.deliveries)}) == 60
    assert (record.event.delivery_count, rest.page.before, states) == (60, None, {State.READY: 60})


def test_data_in_a_form_of_a_later_version_is_not_misread(database: Engine) -> None:
    make_account(database)
    event_id = enqueue("message.sent", 1, account="acme").event_id
    change(database, "UPDATE dispatcher.events SET codec = 9")
    with Session(database) as session, pytest.raises(ConfigurationError, match="form 9"):
        get_event(session, find_account(session, "acme"), event_id)


# The log of one webhook


def log(database: Engine, webhook: UUID, account: str = "acme", **options: Any) -> list[LoggedDelivery]:
    with Session(database) as session:
        return log_of_webhook(session, find_account(session, account), webhook, **options)


def test_a_log_goes_page_by_page_from_the_oldest_and_stays_right_while_more_comes(
    database: Engine, settings: Settings
) -> None:
    webhook, other = (make_webhook(database, settings, url="https://example.com/") for _ in range(2))
    for number in range(5):
        enqueue("message.sent", number, account="acme")
    stored = [row.id for row in deliveries(database) if row.webhook_id == webhook.id]
    first = log(database, webhook.id, limit=2)
    enqueue("message.sent", 5, account="acme")
    second = log(database, webhook.id, limit=10, after=first[-1].delivery.id)
    seen = [logged.delivery for logged in (*first, *second)]
    assert [line.id for line in seen][:5] == stored
    assert {line.webhook_id for line in seen} == {webhook.id}
    assert len(seen) == len(log(database, other.id)) == 6


def test_a_log_is_bounded_by_when_events_came_in(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    event = enqueue("message.sent", 1, account="acme").event_id
    came, later = time_of(event), timedelta(milliseconds=1)
    assert len(log(database, webhook.id, since=came, until=came + later)) == 1
    assert log(database, webhook.id, since=came + later) == log(database, webhook.id, until=came) == []


def test_a_log_says_when_a_delivery_last_changed(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/status/503"))
    enqueue("message.sent", 1, account="acme")
    (untried,) = log(database, webhook.id)
    assert untried.updated_at == untried.delivery.created_at
    deliver_all(settings)
    (tried,) = log(database, webhook.id)
    (attempt,) = rows(database, "SELECT created_at FROM dispatcher.attempts")
    assert tried.updated_at == attempt.created_at > tried.delivery.created_at
    change(database, "UPDATE dispatcher.deliveries SET state = 'claimed', attempt_count = 2")
    assert log(database, webhook.id)[0].updated_at == attempt.created_at
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', finished_at = now() + interval '1 h'")
    (ended,) = log(database, webhook.id)
    assert ended.updated_at == ended.delivery.finished_at


def test_another_accounts_log_is_empty_and_its_events_are_unknown(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_account(database, "other")
    event = enqueue("message.sent", 1, account="acme").event_id
    assert log(database, webhook.id, account="other") == []
    with Session(database) as session:
        acme, other = find_account(session, "acme"), find_account(session, "other")
        assert find_delivery(session, acme, webhook.id, event) == deliveries(database)[0].id
        for account, wanted, of in ((other, webhook.id, event), (acme, new_id(), event), (acme, webhook.id, new_id())):
            with pytest.raises(NotFound, match="event"):
                find_delivery(session, account, wanted, of)


def test_a_page_of_a_log_and_an_event_cost_the_same_among_many(database: Engine, settings: Settings) -> None:
    busy, other = (make_webhook(database, settings, url="https://example.com/") for _ in range(2))
    event = enqueue("message.sent", 1, account="acme").event_id
    copied = (
        "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), webhook_id, 'ready', due_at, give_up_at"
        " FROM dispatcher.deliveries CROSS JOIN generate_series(1, 5000)"
    )
    change(database, copied)
    with database.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE dispatcher.deliveries")
    middle = log(database, busy.id, limit=2500)[-1].delivery.id
    with Session(database) as session:
        account = find_account(session, "acme")
        before = entries_read(session.connection())
        assert len(log_of_webhook(session, account, busy.id, after=middle, limit=20)) == 20
        find_delivery(session, account, other.id, event)
        assert entries_read(session.connection()) - before <= 60


def entries_read(connection: Connection) -> int:
    """Index entries and rows of deliveries read by this transaction."""
    return int(
        connection.exec_driver_sql(
            "SELECT sum(pg_stat_get_xact_tuples_returned(t)) FROM (SELECT 'dispatcher.deliveries'::regclass::oid UNION"
            " ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'dispatcher.deliveries'::regclass) x(t)"
        ).scalar_one()
    )


def test_an_account_of_a_name_that_nobody_can_have_is_unknown(database: Engine) -> None:
    with Session(database) as session, pytest.raises(UnknownAccount):
        find_account(session, "a\0b")


# What lists read


def test_each_filter_of_deliveries_reads_little_more_than_it_finds(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_many(database, webhook.id)
    with Session(database) as session:
        account = find_account(session, "acme")
        newest = list_deliveries(session, account, limit=50).deliveries
    old = newest[0].id.int >> 80
    moment = datetime.fromtimestamp(old / 1000, UTC) - timedelta(seconds=1)
    for most, found, filters in (
        (200, 50, {}),
        (50, 4, {"state": State.DISCARDED}),
        (50, 4, {"state": State.DISCARDED, "reason": Reason.REJECTED}),
        (50, 0, {"state": State.CANCELLED}),
        (50, 0, {"state": State.WAITING}),
        (200, 50, {"state": State.DELIVERED}),
        (50, 1, {"event": newest[9].event_id}),
        (200, 50, {"since": datetime(1970, 1, 1, tzinfo=UTC), "webhook": webhook.id}),
        (200, 50, {"until": moment}),
        (50, 0, {"since": moment + timedelta(hours=100)}),
    ):
        with Session(database) as session, reading_less_than(most, session, "deliveries", filters):
            assert len(list_deliveries(session, account, **filters).deliveries) == found, filters


def test_no_filter_of_events_reads_without_bound(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOKED_AT", 1000)
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_many(database, webhook.id)
    for most, found, filters in (
        (200, 50, {}),
        (50, 0, {"subject": "nobody"}),
        (50, 0, {"undelivered": True}),
        (50, 0, {"since": datetime(2100, 1, 1, tzinfo=UTC)}),
        (200, 50, {"event_type": "message"}),
        (2500, 0, {"event_type": "nothing"}),
        (2500, 0, {"app": "nothing"}),
        (50, 0, {"event_type": "nothing", "subject": "nobody"}),
    ):
        with Session(database) as session, reading_less_than(most, session, "events", filters):
            page = list_events(session, find_account(session, "acme"), **filters)
            assert len(page.events) == found, filters
