"""A webhook of the Everlytic dialect is called in Everlytic's shape, by the engine's own rules."""

import base64

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.dialects.everlytic.conftest import Everlytic
from tests.factories import deliver_all, deliveries
from tests.receiver import Receiver

DATA = b'{"id": 634151298329219072, "text":"na\\u00efve \xf0\x9f\x91\x8b", "cost":1.10}'


def test_a_callback_is_one_message_byte_for_byte_with_the_webhooks_credentials(
    everlytic: Everlytic, settings: Settings, receiver: Receiver, database: Engine
) -> None:
    details = {"username": "user", "password": "pässword"}
    everlytic.create(url=receiver.url("/hook?a=b"), auth_type="basic", auth_details=details)
    enqueue("message.outbound.sent", DATA, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.method, callback.target, callback.body) == ("POST", "/hook?a=b", DATA)
    assert callback.header("Content-Type") == "application/json"
    assert callback.header("Authorization") == f"Basic {base64.b64encode('user:pässword'.encode()).decode()}"
    assert callback.header("Dispatcher-Event-Type") == "message.outbound.sent"
    assert callback.header("webhook-signature") is None
    assert [delivery.state for delivery in deliveries(database)] == ["delivered"]


def test_with_the_verb_get_the_message_is_in_the_query(
    everlytic: Everlytic, settings: Settings, receiver: Receiver
) -> None:
    everlytic.create(url=receiver.url("/hook"), verb="get")
    enqueue("message.outbound.sent", DATA, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.method, callback.body) == ("GET", b"")
    assert callback.target == "/hook?id=634151298329219072&text=na%C3%AFve%20%F0%9F%91%8B&cost=1.10"
    assert callback.header("Authorization") is None


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("sent", "message.outbound.sent"),
        ("failed", "message.outbound.failed"),
        ("bounce", "message.outbound.bounced"),
        ("delivered", "message.outbound.delivered"),
        ("reply", "message.inbound.received"),
    ],
)
def test_each_event_type_stands_for_one_of_ours_and_for_no_other(
    everlytic: Everlytic, name: str, event_type: str
) -> None:
    everlytic.create(event_types=[name])
    for other in ("sent", "failed", "bounced", "delivered", "progress"):
        assert enqueue(f"message.outbound.{other}", 1, account="acme").deliveries == (
            f"message.outbound.{other}" == event_type
        )
    assert enqueue("message.inbound.received", 1, account="acme").deliveries == (name == "reply")


def test_what_is_changed_holds_for_the_next_callback(
    everlytic: Everlytic, settings: Settings, receiver: Receiver
) -> None:
    made = everlytic.create(url=receiver.url("/old"), status="disabled")
    enqueue("message.outbound.sent", {"n": 1}, account="acme")
    deliver_all(settings)
    assert receiver.received == []
    everlytic.update(made, url=receiver.url("/new"), verb="post", status="enabled", event_types=["reply"])
    assert enqueue("message.outbound.sent", {"n": 2}, account="acme").deliveries == 0
    enqueue("message.inbound.received", {"n": 3}, account="acme")
    deliver_all(settings)
    assert sorted((callback.path, callback.body) for callback in receiver.received) == [
        ("/new", b'{"n":1}'),
        ("/new", b'{"n":3}'),
    ]
