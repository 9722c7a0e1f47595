"""`/v1/webhooks/{id}/health`: circuit, deliveries of a day, last answer, what has been due longest."""

from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import dispatcher.webhooks.health
from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.dead_ports import refusing_port
from tests.factories import change, change_webhook, deliver_all, deliveries, make_due, make_webhook, rows, upkeep_once
from tests.integration.api.conftest import Api
from tests.many_rows import make_many_open, reading_less_than
from tests.receiver import Receiver

NOTHING = {"ready": 0, "claimed": 0, "waiting": 0, "delivered": 0, "discarded": 0, "cancelled": 0}


def store(count: int) -> None:
    for _ in range(count):
        enqueue("message.sent", {"id": 1}, account="acme")


def health(api: Api, token: str, webhook: Any) -> dict[str, Any]:
    answer = api.call("GET", f"/v1/webhooks/{webhook.id}/health", token=token)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_of_one_that_was_never_called_there_is_nothing_to_tell(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    found = health(api, manager, make_webhook(database, settings, url="https://hooks.example.com/", enabled=False))
    assert found["deliveries"].pop("since").endswith("Z")
    said = [sentence["code"] for sentence in found.pop("explanation")]
    assert said == ["webhook_disabled", "never_called", "nothing_open", "no_contact", "can_enable"]
    assert found == {
        "enabled": False,
        "deleted_at": None,
        "quarantined_at": None,
        "quarantined_reason": None,
        "unreadable": None,
        "circuit": {
            "state": "closed",
            "failures_in_a_row": 0,
            "failing_since": None,
            "opened_at": None,
            "next_trial_at": None,
        },
        "deliveries": {"counts": NOTHING, "complete": True},
        "open": {"count": 0, "complete": True},
        "last_answer": None,
        "oldest_due": None,
    }


def test_the_deliveries_of_a_day_are_counted_by_state(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    make_webhook(database, settings, url=receiver.url("/other"))
    receiver.script("/hook", Answer(204), Answer(400), Answer(503), Answer(204))
    store(4)
    deliver_all(settings)
    store(1)
    found = health(api, manager, webhook)
    assert found["deliveries"]["counts"] == NOTHING | {"delivered": 2, "discarded": 1, "waiting": 1, "ready": 1}
    # One that came longer ago is not among them: its id says when.
    change(
        database,
        "UPDATE dispatcher.deliveries SET id = '00000000-0000-7000-8000-000000000000'"
        " WHERE webhook_id = :id AND state = 'ready'",
        id=webhook.id,
    )
    assert health(api, manager, webhook)["deliveries"]["counts"]["ready"] == 0


def test_no_more_are_counted_than_can_be_at_once(
    api: Api, manager: str, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher.webhooks.health, "COUNTED", 3)
    webhook = make_webhook(database, settings, url="https://hooks.example.com/")
    store(3)
    assert health(api, manager, webhook)["deliveries"]["complete"]
    store(3)
    found = health(api, manager, webhook)["deliveries"]
    assert (found["counts"]["ready"], found["complete"]) == (3, False)


def test_the_last_answer_is_reported(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    receiver.script("/hook", Answer(503), Answer(204))
    store(1)
    deliver_all(settings)
    first = health(api, manager, webhook)["last_answer"]
    assert (first["status"], first["failure"], first["failure_detail"]) == (503, None, None)
    assert first["at"].endswith("Z")
    assert first["duration_ms"] >= 0
    store(1)
    deliver_all(settings)
    second = health(api, manager, webhook)["last_answer"]
    assert second["status"] == 204
    assert second["at"] > first["at"]
    receiver.script("/hook", Answer(502))
    make_due(database)
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready' WHERE state = 'waiting'")
    deliver_all(settings)  # the older delivery is the one attempted last
    assert health(api, manager, webhook)["last_answer"]["status"] == 502


def test_a_failure_without_an_answer_is_reported_by_its_kind(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url=f"http://127.0.0.1:{refusing_port()}/planted")
    store(1)
    deliver_all(settings)
    last = health(api, manager, webhook)["last_answer"]
    assert (last["status"], last["failure"]) == (None, "connection_refused")
    assert "planted" not in last["failure_detail"]


def test_what_waits_for_its_first_attempt_does_not_hide_the_last_answer(
    api: Api,
    manager: str,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher.webhooks.health, "LOOKED_AT", 2)
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    store(1)
    deliver_all(settings)
    store(3)
    assert health(api, manager, webhook)["last_answer"]["status"] == 200


def test_behind_an_open_circuit_the_last_answer_and_the_oldest_are_found_under_a_backlog(
    api: Api,
    manager: str,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher.webhooks.health, "COUNTED", 3)
    receiver.script("/hook", Answer(503))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    store(5)
    deliver_all(settings)
    change(database, "UPDATE dispatcher.circuit_breakers SET failing_since = failing_since - interval '1 minute'")
    store(1)
    deliver_all(settings)
    store(10)
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready', due_at = now() WHERE state = 'waiting'")
    oldest = deliveries(database)[3]
    change(
        database,
        "UPDATE dispatcher.deliveries SET due_at = now() - interval '1 hour' WHERE id = :id",
        id=oldest.id,
    )
    found = health(api, manager, webhook)
    assert found["circuit"].pop("opened_at").endswith("Z")
    (gate,) = rows(database, "SELECT * FROM dispatcher.circuit_breakers")
    assert found["circuit"] == {
        "state": "open",
        "failures_in_a_row": 6,
        "failing_since": gate.failing_since.isoformat().replace("+00:00", "Z"),
        "next_trial_at": gate.trial_at.isoformat().replace("+00:00", "Z"),
    }
    assert found["last_answer"]["status"] == 503
    assert found["oldest_due"]["delivery_id"] == str(oldest.id)
    assert api.call("GET", f"/v1/webhooks/{webhook.id}", token=manager).json()["circuit"] == "open"


def test_of_a_deleted_one_it_says_what_is_left_to_end_and_reads_no_more_than_it_counts(
    api: Api, manager: str, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, other = (make_webhook(database, settings, url="https://hooks.example.com/") for _ in range(2))
    for each, state in ((webhook, "ready"), (webhook, "waiting"), (other, "waiting")):
        make_many_open(database, each.id, 1_500, state=state)
    assert health(api, manager, webhook)["open"] == {"count": 3_000, "complete": True}
    change_webhook(database, settings, webhook, "delete")
    monkeypatch.setattr(dispatcher.webhooks.health, "COUNTED", 100)
    with Session(database) as session, reading_less_than(300, session, "deliveries"):
        found = dispatcher.webhooks.health.open_deliveries(session, webhook.id)
    assert (found.count, found.complete) == (100, False)
    upkeep_once(settings)
    ended = health(api, manager, webhook)
    assert (ended["deleted_at"][-1], ended["open"]) == ("Z", {"count": 0, "complete": True})
