"""`explanation` in the API: the same sentences as the command line's, without a word about the engine's machines."""

from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import change, deliver_all, deliveries, make_webhook
from tests.integration.api.conftest import Api, MakeKey
from tests.integration.webhooks.test_explanation import LIVES
from tests.receiver import Receiver


@pytest.fixture
def reader(make_key: MakeKey) -> str:
    return make_key("acme", Scope.READ)


def explanation(api: Api, token: str, path: str) -> list[dict[str, Any]]:
    answer = api.call("GET", path, token=token)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["explanation"]
    return found


def test_a_delivery_its_webhook_and_its_event_are_explained(
    api: Api, reader: str, operator: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(503))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    event = enqueue("message.sent", 1, account="acme").event_id
    deliver_all(settings)
    (delivery,) = deliveries(database)
    of_delivery = explanation(api, reader, f"/v1/deliveries/{delivery.id}")
    assert [sentence["code"] for sentence in of_delivery] == [
        *("retry_due", "last_attempt", "last_retry", "can_send_at_once"),
    ]
    assert of_delivery[0]["parameters"]["due_at"] == delivery.due_at.isoformat().replace("+00:00", "Z")
    assert of_delivery[0]["text"].startswith("Retry 1 of 196 is due at ")
    of_webhook = explanation(api, reader, f"/v1/webhooks/{webhook.id}/health")
    assert [sentence["code"] for sentence in of_webhook] == [
        *("webhook_failing", "last_answer", "deliveries_open", "no_contact"),
    ]
    (of_event,) = explanation(api, reader, f"/v1/events/{event}")
    assert (of_event["code"], of_event["parameters"]) == ("webhooks_took_it", {"webhooks": 1, "waiting": 1})
    for path in (f"deliveries/{delivery.id}", f"webhooks/{webhook.id}/health", f"events/{event}"):
        own, seen = (explanation(api, token, f"/v1/{path}") for token in (reader, operator))
        assert [sentence["code"] for sentence in own] == [sentence["code"] for sentence in seen]


def test_an_event_that_no_webhook_took_is_explained_by_the_webhooks_of_its_account_alone(
    api: Api, reader: str, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="https://example.com/", name="ours", event_types=["message.inbound"])
    make_webhook(database, settings, url="https://example.com/", name="theirs", account="globex")
    event = enqueue("mesage.inbound", 1, account="acme").event_id
    said = explanation(api, reader, f"/v1/events/{event}")
    assert [sentence["code"] for sentence in said] == [
        *("no_webhook_took_it", "takes_other_types", "nearest_types", "can_subscribe", "can_send"),
    ]
    assert said[2]["parameters"] == {"types": ["message.inbound"]}
    assert said[-1]["parameters"] == {"event_id": str(event)}
    assert "theirs" not in str(said)


def test_customers_are_told_of_no_machine_and_no_command(
    api: Api, reader: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/hook")
    enqueue("message.sent", 1, account="acme")
    change(database, LIVES.replace("'h'", "'planted-host'"), kind="deliver", doing="loop", age=5)
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() - interval '1 hour'")
    (delivery,) = deliveries(database)
    for state in ("ready", "waiting", "claimed", "discarded"):
        change(database, f"UPDATE dispatcher.deliveries SET state = '{state}', reason = 'rejected'")
        for path in (f"/v1/deliveries/{delivery.id}", f"/v1/webhooks/{webhook.id}/health"):
            told = str(explanation(api, reader, path))
            assert not [word for word in ("planted-host", "worker", "dispatcher ", "Celery") if word in told]
