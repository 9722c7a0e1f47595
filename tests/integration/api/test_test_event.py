"""The test event: a sample event to one webhook, through the path of every event."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import attempts, change, deliver_all, deliveries, make_webhook, rows
from tests.integration.api.conftest import Api, errors
from tests.receiver import Receiver


def call(api: Api, token: str, webhook: Webhook, body: Any = b"") -> Any:
    return api.call("POST", f"/v1/webhooks/{webhook.id}/test", body, token=token)


def test_it_goes_to_this_webhook_alone_whatever_it_takes_and_is_kept_like_any_event(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(
        database, settings, url=receiver.url("/hook"), event_types=["order"], app="shop", contract={"batch_size": 10}
    )
    make_webhook(database, settings, url=receiver.url("/other"), event_types=["*"])
    called = call(api, manager, webhook)
    assert called.status_code == 202
    deliver_all(settings)
    (request,) = receiver.received
    assert (request.path, request.header("Dispatcher-Event-Type")) == ("/hook", "webhook.test")
    assert request.json() == [{"test": True, "text": "This is a test event."}]
    assert request.header("Dispatcher-Event-Id") == called.json()["event_id"]
    assert request.header("Dispatcher-Delivery-Id") == called.json()["delivery_id"]
    (delivery,) = deliveries(database)
    assert (delivery.id, delivery.state) == (UUID(called.json()["delivery_id"]), "delivered")
    (event,) = rows(database, "SELECT * FROM dispatcher.events")
    assert (str(event.id), event.app, event.delivery_count) == (called.json()["event_id"], "shop", 1)
    assert [attempt.status for attempt in attempts(database)] == [200]


def test_type_and_data_are_chosen_and_the_bytes_of_data_are_sent_as_they_came(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    data = '{ "id": 634151298329219072000000001, "price": 1.10, "text": "na\\u00efve 🎉" }'
    body = f'{{"type": "message.inbound.received", "data" : {data} }}'.encode()
    assert call(api, manager, webhook, body).status_code == 202
    assert call(api, manager, webhook, b'{"data":null}').status_code == 202
    deliver_all(settings)
    first, second = receiver.received
    assert (first.body, first.header("Dispatcher-Event-Type")) == (f"[{data}]".encode(), "message.inbound.received")
    assert second.body == b"[null]"


def test_it_passes_an_open_circuit_and_closes_it(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trials, trial_at)"
        " VALUES (:id, 9, now() - interval '1 hour', now() - interval '1 hour', 5, now() + interval '1 hour')",
        id=webhook.id,
    )
    enqueue("message.sent", {"id": 1}, account="acme")
    deliver_all(settings)
    assert receiver.received == []
    call(api, manager, webhook)
    deliver_all(settings)
    assert receiver.received[0].header("Dispatcher-Event-Type") == "webhook.test"
    assert rows(database, "SELECT * FROM dispatcher.circuit_breakers") == []


def test_one_that_fails_is_retried_by_the_schedule(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    receiver.script("/hook", Answer(500))
    call(api, manager, webhook)
    deliver_all(settings)
    (delivery,) = deliveries(database)
    assert (delivery.state, delivery.schedule_step, delivery.bypasses_circuit) == ("waiting", 1, False)
    span = rows(database, "SELECT retry_span FROM dispatcher.webhooks")[0].retry_span
    assert delivery.give_up_at - delivery.created_at == span


def test_a_disabled_webhook_is_not_called(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), enabled=False)
    answer = call(api, manager, webhook)
    assert (answer.status_code, "disabled" in answer.json()["detail"]) == (409, True)
    assert rows(database, "SELECT * FROM dispatcher.events") == deliveries(database) == []


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        ({"type": "no type!"}, 422, ["type"]),
        ({"type": 7}, 422, ["type"]),
        ({"nope": 1, "type": None}, 422, ["type", "nope"]),
        ({"data": "x" * 256 * 1024}, 422, ["data"]),
        (b'{"data":NaN}', 400, None),
        (b'{"data":1,"data":2}', 400, None),
        (b"planted", 400, None),
    ],
)
def test_what_is_refused_is_named_and_nothing_stored(
    api: Api,
    manager: str,
    database: Engine,
    settings: Settings,
    body: Any,
    status: int,
    fields: list[str] | None,
) -> None:
    webhook = make_webhook(database, settings, url="https://hooks.example.com/")
    answer = call(api, manager, webhook, body)
    assert answer.status_code == status
    assert fields is None or list(errors(answer)) == fields
    assert "planted" not in answer.text
    assert rows(database, "SELECT * FROM dispatcher.events") == deliveries(database) == []


def test_the_workers_are_woken(api: Api, manager: str, database: Engine, settings: Settings, broker: Any) -> None:
    webhook = make_webhook(database, settings, url="https://hooks.example.com/")
    assert broker.llen("deliver") == 0
    call(api, manager, webhook)
    assert broker.llen("deliver") == 1
