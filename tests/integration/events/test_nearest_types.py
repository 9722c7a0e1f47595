"""An event that no webhook takes is stored, and its receipt says what its type was probably to be."""

import math
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from dispatcher import Accepted, Event, enqueue, enqueue_many
from dispatcher.events import nearest
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import MESSAGE, RECEIVED, change_webhook, make_account, make_webhook, rows

URL = "http://127.0.0.1:9/hook"


def test_a_receipt_without_deliveries_has_what_webhooks_take_that_is_spelt_alike(
    database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound.received", "message.outbound"])
    accepted = enqueue("message.inbound.recieved", MESSAGE, account="acme")
    assert (accepted.deliveries, accepted.nearest_types[0]) == (0, "message.inbound.received")
    assert enqueue("mesage.outbound.sent", MESSAGE, account="acme").nearest_types[0] == "message.outbound"


def test_it_has_message_types_where_webhooks_take_nothing_alike(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL, event_types=["optout"])
    assert enqueue("message.sent", MESSAGE, account="acme").nearest_types[0] == "message.outbound.sent"
    assert enqueue("invoice.paid", MESSAGE, account="acme").nearest_types == ()


def test_it_has_none_where_no_webhook_could_take_anything(database: Engine, settings: Settings) -> None:
    make_account(database)
    make_webhook(database, settings, url=URL, event_types=["message.inbound"], account="globex")
    assert enqueue("message.sent", MESSAGE, account="acme").nearest_types == ()


def test_webhooks_of_other_apps_do_not_count(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound.received"], app="billing")
    assert enqueue("message.inbound.recieved", MESSAGE, account="acme", app="crm").nearest_types == ()
    assert enqueue("message.inbound.recieved", MESSAGE, account="acme", app="billing").nearest_types == (RECEIVED,)


def test_deleted_webhooks_do_not_count(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL, event_types=["message.inbound.received"])
    change_webhook(database, settings, webhook, "delete")
    assert enqueue("message.inbound.recieved", MESSAGE, account="acme").nearest_types == ()


def test_each_of_many_events_has_its_own(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound", "optout.change"])
    types = ["message.inbound.read", "mesage.inbound", "optout.changed", "no type!", "mesage.inbound"]
    receipts = list(enqueue_many(Event(type=name, data=1, account="acme") for name in types))
    told = [receipt.nearest_types if isinstance(receipt, Accepted) else None for receipt in receipts]
    assert told == [(), ("message.inbound",), ("optout.change",), None, ("message.inbound",)]


def statements_of(installation: Installation, database: Engine, calls: Any) -> list[str]:
    """What the calls have the database do, on the connections that `enqueue` uses."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(installation.statements, "before_cursor_execute", note)
    try:
        calls()
    finally:
        event.remove(installation.statements, "before_cursor_execute", note)
    return [statement for statement in seen if "subscribed_types_v1" in statement]


def test_only_events_without_a_delivery_cost_a_look(
    database: Engine, settings: Settings, installation: Installation
) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound"])

    def looks(*types: str) -> int:
        events = [Event(type=name, data=1, account="acme") for name in types]
        return len(statements_of(installation, database, lambda: list(enqueue_many(events, producer=installation))))

    def look_of_one(name: str) -> int:
        return len(
            statements_of(installation, database, lambda: enqueue(name, 1, account="acme", producer=installation))
        )

    assert (looks(RECEIVED, RECEIVED), look_of_one(RECEIVED)) == (0, 0)
    assert (looks(RECEIVED, *(f"message.outbound.{number}" for number in range(500))), look_of_one("message.sent")) == (
        1,
        1,
    )


def test_of_very_many_types_and_subscriptions_the_first_are_looked_at(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "LOOKED_AT", 3)
    monkeypatch.setattr(nearest, "MAX_KINDS", 2)
    make_webhook(database, settings, url=URL, event_types=["order.a", "order.b", "order.c", "order.d"])
    events = [Event(type=f"order.{name}", data=1, account="acme") for name in ("w", "x", "y")]
    told = [receipt.nearest_types for receipt in enqueue_many(events) if isinstance(receipt, Accepted)]
    assert told == [("order.a", "order.b", "order.c"), ("order.a", "order.b", "order.c"), ()]


def test_an_account_that_sends_ever_new_types_has_few_of_them_compared_and_takes_none_from_others(
    database: Engine, settings: Settings, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    compare = nearest.nearest_types
    monkeypatch.setattr(nearest, "KEPT_SECONDS", 100.0)
    monkeypatch.setattr(nearest, "nearest_types", lambda name, known: compared.append(name) or compare(name, known))
    for account in ("acme", "globex"):
        make_webhook(database, settings, url=URL, event_types=["order.created"], account=account)

    def told(name: str, account: str) -> tuple[str, ...]:
        return enqueue(name, 1, account=account, producer=installation).nearest_types

    types = [f"order.create{number}" for number in range(nearest.MAX_NEW + 10)]
    assert [told(name, "acme") for name in types] == [("order.created",)] * nearest.MAX_NEW + [()] * 10
    assert compared == types[: nearest.MAX_NEW]
    assert told(types[0], "acme") == told("order.create", "globex") == ("order.created",)
    installation.nearest_looks.update(acme=(0.0, 1_000))  # a second later
    assert told(types[-1], "acme") == ("order.created",)


def test_in_the_callers_transaction_nothing_is_looked_for(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound"])
    with Session(database) as session, session.begin():
        accepted = enqueue("mesage.inbound", MESSAGE, account="acme", session=session)
    assert (accepted.deliveries, accepted.nearest_types) == (0, ())


def test_a_database_that_fails_after_the_commit_does_not_make_a_stored_event_an_error(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound"])
    monkeypatch.setattr(nearest, "_SUBSCRIBED", text("SELECT no_such_column, :account, :app, :looked_at"))
    accepted = enqueue("mesage.inbound", MESSAGE, account="acme")
    assert accepted.nearest_types == ()
    assert [row.id for row in rows(database, "SELECT id FROM dispatcher.events")] == [accepted.event_id]


def test_an_event_that_comes_again_is_not_looked_for_again(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL, event_types=["message.inbound"])
    first = enqueue("mesage.inbound", MESSAGE, account="acme", idempotency_key="a")
    again = enqueue("mesage.inbound", MESSAGE, account="acme", idempotency_key="a")
    assert (first.nearest_types, again.repeated, again.nearest_types) == (("message.inbound",), True, ())


def test_what_was_found_is_looked_for_again_once_its_time_is_over(
    database: Engine, settings: Settings, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(database)

    def told() -> tuple[str, ...]:
        return enqueue("mesage.inbound", MESSAGE, account="acme", producer=installation).nearest_types

    monkeypatch.setattr(nearest, "KEPT_SECONDS", math.inf)
    assert told() == ()
    make_webhook(database, settings, url=URL, event_types=["message.inbound"])
    assert (statements_of(installation, database, told), told()) == ([], ())
    kept = installation.nearest_types
    kept.update({kind: (0.0, names) for kind, (_, names) in kept.items()})
    assert told() == ("message.inbound",)


def test_many_types_of_other_apps_do_not_hide_the_apps_own(database: Engine, settings: Settings) -> None:
    others = [f"a.{number:03}" for number in range(2 * nearest.COMPARED)]
    for start in range(0, len(others), 100):
        make_webhook(database, settings, url=URL, event_types=others[start : start + 100], app="other")
    make_webhook(database, settings, url=URL, event_types=["order.created"], app="mine")
    assert enqueue("order.create", MESSAGE, account="acme", app="mine").nearest_types == ("order.created",)
