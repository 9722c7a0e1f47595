"""What a webhook of the BulkSMS dialect is sent, from `enqueue` to the receiver's bytes."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.behaviours import Answer, Do, Received
from tests.dialects.bulksms.conftest import BulkSms
from tests.factories import attempts, deliver_all, deliveries, make_due, rows, sweep_once

MESSAGE = (
    '{"id": "23502505", "type": "SENT", "from": "2700000000", "to": "27000000001", "body": "Hell\\u00f6 é",'
    ' "encoding": "TEXT", "protocolId": 0, "messageClass": 0, "numberOfParts": 1, "creditCost": 1.00,'
    ' "submission": {"id": "2-00000000000522347562", "date": "2017-01-01T10:00:00+01:00"},'
    ' "status": {"id": "DELIVERED.null", "type": "DELIVERED", "subtype": null}, "relatedSentMessageId": null,'
    ' "userSuppliedId": 634151298329219072}'
).encode()


def callbacks(bulksms: BulkSms) -> list[Received]:
    """The requests to `/hook`, without URL verifications."""
    return [request for request in bulksms.receiver.at("/hook") if request.body != b"[]"]


def ids(callback: Received) -> list[Any]:
    return [message["id"] for message in json.loads(callback.body)]


def test_a_message_comes_in_an_array_with_the_vendors_headers(
    database: Engine, settings: Settings, bulksms: BulkSms
) -> None:
    bulksms.create(url=bulksms.receiver.url("/hook?secret=pass763265word"))
    enqueue("message.outbound.delivered", MESSAGE, account="acme")
    deliver_all(settings)
    (callback,) = callbacks(bulksms)
    assert (callback.method, callback.target) == ("POST", "/hook?secret=pass763265word")
    assert callback.body == b"[" + MESSAGE + b"]"
    assert callback.header("User-Agent") == "BulkSMS Invoker"
    assert callback.header("Content-Type") == "application/json"
    assert callback.header("webhook-signature") is None
    (attempt,) = attempts(database)
    assert (attempt.status, attempt.verdict) == (200, "acknowledged")


@pytest.mark.parametrize(
    ("scope", "taken"),
    [
        ("SENT", ["message.outbound.accepted", "message.outbound.failed", "message.outbound.deleted"]),
        ("RECEIVED", ["message.inbound.received", "message.inbound.read", "message.inbound.deleted"]),
    ],
)
def test_the_scope_says_which_events_come(
    database: Engine, settings: Settings, bulksms: BulkSms, scope: str, taken: list[str]
) -> None:
    bulksms.create(triggerScope=scope)
    for name in ("message.outbound.accepted", "message.outbound.failed", "message.outbound.deleted"):
        enqueue(name, {"id": name}, account="acme")
    for name in ("message.inbound.received", "message.inbound.read", "message.inbound.deleted", "contact.created"):
        enqueue(name, {"id": name}, account="acme")
    deliver_all(settings)
    assert sorted(ids(callback)[0] for callback in callbacks(bulksms)) == sorted(taken)


def test_many_carries_up_to_ten_and_one_a_single_message(
    database: Engine, settings: Settings, bulksms: BulkSms
) -> None:
    made = bulksms.create(invokeOption="MANY")
    for number in range(12):
        enqueue("message.outbound.sent", {"id": number}, account="acme")
    deliver_all(settings)
    assert sorted(len(ids(callback)) for callback in callbacks(bulksms)) == [2, 10]
    bulksms.call("POST", f"/{made['id']}", json=bulksms.entry(invokeOption="ONE"))
    for number in range(12, 15):
        enqueue("message.outbound.sent", {"id": number}, account="acme")
    deliver_all(settings)
    assert [len(ids(callback)) for callback in callbacks(bulksms)[2:]] == [1, 1, 1]


@pytest.mark.parametrize(("status", "lost"), [(503, 0), (302, 0), (404, 1)])
def test_of_a_call_that_failed_each_message_goes_alone(
    database: Engine, settings: Settings, bulksms: BulkSms, status: int, lost: int
) -> None:
    """A temporary failure is retried by the schedule; after a 4xx only the message that is rejected alone is lost."""
    bulksms.create(invokeOption="MANY")
    bulksms.receiver.script("/hook", lambda seen: Answer(status if len(ids(seen)) > 1 or 3 in ids(seen) else 200))
    for number in range(5):
        enqueue("message.outbound.sent", {"id": number}, account="acme")
    deliver_all(settings)
    make_due(database)
    sweep_once(settings)
    deliver_all(settings)
    assert sorted(map(ids, callbacks(bulksms))) == [[0], [0, 1, 2, 3, 4], [1], [2], [3], [4]]
    states = [row.state for row in deliveries(database)]
    assert [states.count(state) for state in ("delivered", "discarded", "waiting")] == [4, lost, 1 - lost]
    assert rows(database, "SELECT enabled FROM dispatcher.webhooks")[0].enabled


def test_one_that_is_not_active_is_not_called_until_it_is(
    database: Engine, settings: Settings, bulksms: BulkSms
) -> None:
    made = bulksms.create()
    bulksms.call("POST", f"/{made['id']}", json=bulksms.entry(active=False))
    enqueue("message.outbound.sent", {"id": 1}, account="acme")
    deliver_all(settings)
    assert callbacks(bulksms) == []
    bulksms.call("POST", f"/{made['id']}", json=bulksms.entry(active=True))
    deliver_all(settings)
    assert [ids(callback) for callback in callbacks(bulksms)] == [[1]]


@pytest.mark.parametrize(
    ("status", "state"), [(100, "waiting"), (102, "waiting"), (103, "waiting"), (199, "waiting"), (101, "delivered")]
)
def test_a_bare_1xx_is_an_interim_answer_and_101_a_final_one(
    database: Engine, settings: Settings, bulksms: BulkSms, status: int, state: str
) -> None:
    bulksms.create()
    bulksms.receiver.script("/hook", (*Answer(status).steps(), Do.CLOSE))
    enqueue("message.outbound.sent", {"id": 1}, account="acme")
    deliver_all(settings)
    assert [row.state for row in deliveries(database)] == [state]
    (attempt,) = attempts(database)
    assert attempt.verdict == ("acknowledged" if state == "delivered" else "temporary")


def test_what_comes_behind_an_interim_answer_is_the_answer(
    database: Engine, settings: Settings, bulksms: BulkSms
) -> None:
    """If it counted as acknowledged, the message would be lost."""
    bulksms.create()
    bulksms.receiver.script("/hook", (*Answer(100).steps(), *Answer(503).steps()))
    enqueue("message.outbound.sent", {"id": 1}, account="acme")
    deliver_all(settings)
    assert [row.state for row in deliveries(database)] == ["waiting"]
    assert [attempt.status for attempt in attempts(database)] == [503]
