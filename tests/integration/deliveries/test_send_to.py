"""Sending an event to one webhook: what is opened, what is left as it is, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.redelivery import Sent, send_to
from dispatcher.errors import AccountSuspended, DispatcherError, NotFound, WrongState
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from schedules.catalog import DEFAULT
from schedules.timing import Timing
from tests.factories import (
    TESTER,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.receiver import Receiver


def sent(database: Engine, event: UUID, webhook: UUID, account: str = "acme", scale: float = 1.0) -> Sent:
    with Session(database) as session, session.begin():
        return send_to(session, find_account(session, account), event, webhook, Timing(scale), by=TESTER)


def stored(event_type: str = "message.sent", **members: Any) -> UUID:
    return enqueue(event_type, {"id": 1}, account="acme", **members).event_id


@pytest.fixture
def webhook(database: Engine, settings: Settings) -> Any:
    return make_webhook(database, settings, url="https://example.com/", event_types=["message"])


def test_an_expired_event_that_no_webhook_took_is_delivered(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), event_types=["other"])
    event = stored(expires_at=datetime.now(UTC) - timedelta(hours=1))
    assert sent(database, event, webhook.id).is_opened
    upkeep_once(settings)
    deliver_all(settings)
    assert [request.header("Dispatcher-Event-Id") for request in receiver.received] == [str(event)]
    assert [delivery.state for delivery in deliveries(database)] == ["delivered"]


def test_a_new_delivery_is_as_enqueue_makes_it_but_passes_an_open_circuit(database: Engine, webhook: Any) -> None:
    event = stored()
    (made,) = deliveries(database)
    change(database, "DELETE FROM dispatcher.deliveries")
    assert sent(database, event, webhook.id, scale=0.5) == Sent(made.id, is_opened=True)
    (again,) = rows(database, "SELECT *, due_at - now() AS due, give_up_at - now() AS span FROM dispatcher.deliveries")
    differ = {name for name in made._fields if getattr(made, name) != getattr(again, name)}
    assert differ == {"due_at", "give_up_at", "created_at", "bypasses_circuit"}
    assert again.bypasses_circuit
    assert -timedelta(seconds=10) < again.due <= timedelta()
    assert DEFAULT.span * 0.5 - timedelta(seconds=10) < again.span <= DEFAULT.span * 0.5


def test_numbers_go_on_after_attempts_of_a_delivery_that_is_gone(database: Engine, webhook: Any) -> None:
    event = stored()
    change(
        database,
        "INSERT INTO dispatcher.attempts (delivery_id, number, id) SELECT id, 7, id FROM dispatcher.deliveries",
    )
    change(database, "DELETE FROM dispatcher.deliveries")
    sent(database, event, webhook.id)
    assert [delivery.attempt_count for delivery in deliveries(database)] == [7]


def test_a_closed_delivery_is_redelivered(database: Engine, webhook: Any) -> None:
    for state in ("delivered", "discarded", "cancelled"):
        event = stored()
        change(
            database,
            "UPDATE dispatcher.deliveries SET state = :state, attempt_count = 3 WHERE event_id = :event",
            state=state,
            event=event,
        )
        opened = sent(database, event, webhook.id)
        (after,) = [delivery for delivery in deliveries(database) if delivery.event_id == event]
        assert opened == (after.id, True)
        assert (after.state, after.attempt_count, after.bypasses_circuit) == ("ready", 3, True)
    actions = rows(database, "SELECT action FROM dispatcher.audit WHERE target_kind = 'delivery'")
    assert [entry.action for entry in actions] == ["delivery.redelivered"] * 3


def test_asked_for_twice_it_is_opened_once(database: Engine, webhook: Any) -> None:
    event = stored("other")
    together = Barrier(4)

    def ask(_: int) -> Sent:
        together.wait()
        return sent(database, event, webhook.id)

    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(ask, range(4)))
    (delivery,) = deliveries(database)
    assert sorted(asked) == [(delivery.id, False)] * 3 + [(delivery.id, True)]
    assert sent(database, event, webhook.id) == (delivery.id, False)
    (entry,) = rows(database, "SELECT * FROM dispatcher.audit WHERE target_kind = 'delivery'")
    assert (entry.action, entry.target_id) == ("delivery.created", delivery.id)
    assert entry.detail == {"event": str(event), "webhook": str(webhook.id)}


def test_what_would_not_be_sent_is_refused(
    database: Engine, settings: Settings, webhook: Any, subtests: pytest.Subtests
) -> None:
    event = stored("other", app="shop")
    of_app = make_webhook(database, settings, url="https://example.com/", app="bank")
    disabled = make_webhook(database, settings, url="https://example.com/", enabled=False)
    deleted = make_webhook(database, settings, url="https://example.com/")
    change_webhook(database, settings, deleted, "delete")
    others = make_webhook(database, settings, url="https://example.com/", account="other")
    known = len(deliveries(database))
    refused: list[tuple[str, UUID, UUID, str, type[DispatcherError], str]] = [
        ("another app's webhook", event, of_app.id, "acme", WrongState, "its own app"),
        ("a disabled webhook", event, disabled.id, "acme", WrongState, "is disabled"),
        ("a deleted webhook", event, deleted.id, "acme", NotFound, "no webhook"),
        ("another account's webhook", event, others.id, "acme", NotFound, "no webhook"),
        ("another account's event", event, others.id, "other", NotFound, "no event"),
        ("no event", new_id(), webhook.id, "acme", NotFound, "no event"),
    ]
    for what, event_id, webhook_id, account, error, text in refused:
        with subtests.test(what), pytest.raises(error, match=text):
            sent(database, event_id, webhook_id, account)
    quarantine = "UPDATE dispatcher.webhooks SET quarantined_at = now(), quarantined_reason = 'odd' WHERE id = :id"
    for statement, error, text in (
        (quarantine, WrongState, "quarantined: odd"),
        ("UPDATE dispatcher.accounts SET suspended_at = now()", AccountSuspended, "is suspended"),
    ):
        change(database, statement, id=webhook.id)
        with subtests.test(text), pytest.raises(error, match=text):
            sent(database, event, webhook.id)
    assert len(deliveries(database)) == known


def test_an_erased_message_is_not_sent(database: Engine, webhook: Any) -> None:
    event = stored("other")
    change(database, "UPDATE dispatcher.events SET codec = 1, data = '', subject = NULL")
    with pytest.raises(WrongState, match="message was erased"):
        sent(database, event, webhook.id)
    assert deliveries(database) == []
