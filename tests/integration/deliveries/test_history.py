"""What the records tell, beyond what the commands' tests show: unknown outcomes, dropped events, stored forms."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts import find_account
from dispatcher.errors import ConfigurationError
from dispatcher.history import get_delivery, get_event, list_deliveries
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.factories import change, deliver_all, deliveries, make_account, make_webhook
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


def test_a_delivery_whose_event_is_no_longer_kept_is_still_told(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    enqueue("message.sent", 1, account="acme")
    change(database, "DELETE FROM dispatcher.events")
    with Session(database) as session:
        account = find_account(session, "acme")
        (line,) = list_deliveries(session, account)
        record = get_delivery(session, account, line.id)
    assert line.event_type is None
    assert (record.delivery, record.event) == (line, None)


def test_every_delivery_of_an_event_is_told_however_many(database: Engine, settings: Settings) -> None:
    for _ in range(60):
        make_webhook(database, settings, url="https://example.com/")
    event_id = enqueue("message.sent", b'{"a" : 1}', account="acme").event_id
    with Session(database) as session:
        record = get_event(session, find_account(session, "acme"), event_id)
    assert record.data == b'{"a" : 1}'
    assert len(record.deliveries) == record.event.delivery_count == 60


def test_data_in_a_form_of_a_later_version_is_not_misread(database: Engine) -> None:
    make_account(database)
    event_id = enqueue("message.sent", 1, account="acme").event_id
    change(database, "UPDATE dispatcher.events SET codec = 9")
    with Session(database) as session, pytest.raises(ConfigurationError, match="form 9"):
        get_event(session, find_account(session, "acme"), event_id)
