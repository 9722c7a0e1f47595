"""What a webhook of the Zipwhip dialect is sent, from the HTTP API to the receiver's bytes."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.dialects.zipwhip.conftest import Zipwhip
from tests.factories import deliver_all, deliveries
from tests.integration.api.conftest import MakeKey
from tests.receiver import Receiver


def pages_message() -> bytes:
    """The message of the vendor's page, byte for byte; its id is beyond 2^53."""
    page = (Path(__file__).parent / "contract.txt").read_text()
    (message,) = re.findall(r'^\{ +\n  "body".*?^\}', page, re.MULTILINE | re.DOTALL)
    assert '"id":634151298329219072,' in message
    return message.encode()


def post_event(zipwhip: Zipwhip, make_key: MakeKey, data: bytes) -> None:
    body = b'{"type":"message.inbound.received","data":' + data + b"}"
    bearer = {"Authorization": f"Bearer {make_key('acme', Scope.SEND)}"}
    assert requests.post(f"{zipwhip.origin}/v1/events", data=body, headers=bearer, timeout=30).status_code == 202


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_pages_message_comes_alone_to_the_byte_with_the_vendors_headers(
    database: Engine, settings: Settings, zipwhip: Zipwhip, make_key: MakeKey, receiver: Receiver, method: str
) -> None:
    zipwhip.add(receiver.url("/message/receive?key=1"), method=method)
    post_event(zipwhip, make_key, pages_message())
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.method, callback.target) == (method, "/message/receive?key=1")
    assert callback.body == pages_message()
    assert callback.header("User-Agent") == "Jakarta Commons-HttpClient/3.1"
    assert callback.header("Content-Type") == "application/json; charset=UTF-8"
    assert callback.header("webhook-signature") is None
    assert [row.state for row in deliveries(database)] == ["delivered"]


def test_by_get_the_members_are_query_parameters_with_their_digits(
    database: Engine, settings: Settings, zipwhip: Zipwhip, make_key: MakeKey, receiver: Receiver
) -> None:
    zipwhip.add(receiver.url("/message/receive?key=1"), method="GET")
    post_event(zipwhip, make_key, pages_message())
    deliver_all(settings)
    (callback,) = receiver.received
    sent = dict(parse_qsl(urlsplit(callback.target).query))
    assert (callback.method, callback.body, callback.header("Content-Type")) == ("GET", b"", None)
    assert callback.header("User-Agent") == "Jakarta Commons-HttpClient/3.1"
    assert (sent["key"], sent["id"], sent["address"]) == ("1", "634151298329219072", "ptn:/4257772222")
    assert (sent["body"], sent["read"], sent["cc"]) == ("Thanks for texting, this is an auto reply!", "false", "null")


def test_each_webhook_gets_its_event_and_no_other(
    database: Engine, settings: Settings, zipwhip: Zipwhip, receiver: Receiver
) -> None:
    for event in ("send", "receive", "progress", "read", "delete"):
        zipwhip.add(receiver.url(f"/{event}"), event=event)
    zipwhip.add(receiver.url("/change"), type="optout", event="change")
    taken = {
        "send": ["message.outbound.sent"],
        "receive": ["message.inbound.received"],
        "progress": [f"message.outbound.{name}" for name in ("progress", "delivered", "failed", "bounced")],
        "read": ["message.inbound.read"],
        "delete": ["message.outbound.deleted", "message.inbound.deleted"],
        "change": ["optout.change"],
        "nobody": ["message.outbound.accepted", "contact.created"],
    }
    for name in (name for names in taken.values() for name in names):
        enqueue(name, {"about": name}, account="acme")
    deliver_all(settings)
    for event, names in taken.items():
        bodies = sorted(callback.body for callback in receiver.at(f"/{event}"))
        assert bodies == ([] if event == "nobody" else sorted(f'{{"about":"{name}"}}'.encode() for name in names))


@pytest.mark.parametrize(
    ("status", "state"), [(204, "delivered"), (404, "discarded"), (302, "waiting"), (500, "waiting")]
)
def test_answers_mean_what_they_mean_everywhere(
    database: Engine, settings: Settings, zipwhip: Zipwhip, receiver: Receiver, status: int, state: str
) -> None:
    zipwhip.add(receiver.url("/hook"))
    receiver.script("/hook", Answer(status))
    enqueue("message.inbound.received", {"id": 1}, account="acme")
    deliver_all(settings)
    assert [row.state for row in deliveries(database)] == [state]
