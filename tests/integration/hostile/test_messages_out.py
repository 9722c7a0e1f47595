"""Hostile messages reach each kind of webhook to the byte, or end alone; the good ones beside them are delivered."""

import json
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import Engine

from dispatcher import Accepted, Event, enqueue_many
from dispatcher.settings import Settings
from tests import hostile_values
from tests.factories import deliver_all, deliveries, make_webhook, rows
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver

MESSAGES = [
    *hostile_values.JSON.values(),
    *(json.dumps({text: text}, ensure_ascii=False).encode() for text in hostile_values.TEXTS.values()),
    b'{"good":1}',
]


def enqueue_all(account: str = "acme") -> None:
    receipts = list(enqueue_many(Event(type="a", data=data, account=account) for data in MESSAGES))
    assert all(isinstance(receipt, Accepted) for receipt in receipts)


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_message_arrives_to_the_byte_in_every_envelope(
    database: Engine, settings: Settings, receiver: Receiver, transport: str
) -> None:
    make_webhook(database, settings, url=receiver.url("/array"))
    make_webhook(database, settings, url=receiver.url("/put"), contract={"method": "PUT", "envelope": "object"})
    make_webhook(database, settings, url=receiver.url("/batch"), contract={"batch_size": 100})
    enqueue_all()
    deliver_all(settings.model_copy(update={"transport": transport}))
    assert {row.state for row in deliveries(database)} == {"delivered"}
    assert Counter(callback.body for callback in receiver.at("/put")) == Counter(MESSAGES)
    assert Counter(callback.body for callback in receiver.at("/array")) == Counter(b"[%s]" % data for data in MESSAGES)
    batches = receiver.at("/batch")
    assert len(batches) < len(MESSAGES)
    assert sum(len(callback.body) for callback in batches) == sum(len(data) + 1 for data in MESSAGES) + len(batches)
    for callback in batches:
        rest = callback.body
        for data in MESSAGES:
            rest = rest.replace(data, b"", 1) if data in rest else rest
        assert not set(rest) - set(b"[],"), rest


def test_a_message_that_has_no_url_ends_alone(
    database: Engine, settings: Settings, receiver: Receiver, cli: Cli
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/get?secret=abc"), contract={"method": "GET"})
    enqueue_all()
    deliver_all(settings)
    ends = rows(
        database,
        "SELECT e.data, d.state, d.reason FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id",
    )
    for row in ends:
        data = bytes(row.data)
        readable = data.lstrip().startswith(b"{") and data not in {
            hostile_values.JSON["duplicate names"],
            hostile_values.JSON["lone surrogates"],
        }
        assert (row.state, row.reason) == (("delivered", None) if readable else ("discarded", "render_failed")), data
    sent = [parse_qsl(urlsplit(callback.target).query, keep_blank_values=True) for callback in receiver.received]
    assert {tuple(pairs[0]) for pairs in sent} == {("secret", "abc")}
    arrived = {pairs[1] for pairs in sent}
    assert {(text, text) for text in hostile_values.TEXTS.values()} < arrived
    assert all(callback.path == "/get" and callback.body == b"" for callback in receiver.received)
    shown = cli("delivery", "list", "--webhook", webhook.id, "--state", "discarded", "--json").document
    assert len(shown) == len([row for row in ends if row.state == "discarded"])


def test_a_message_is_shown_without_harm_and_comes_back_as_json(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue_all()
    # One page of all of them: what a terminal gets for each is the same function's.
    for row in rows(database, "SELECT id, data FROM dispatcher.events")[::4]:
        shown = cli("event", "show", row.id)
        assert shown.status == 0
        assert not hostile_values.steering(shown.out, allowed="\n\t")
        document = cli("event", "show", row.id, "--json").out
        assert document.isascii()
        data = bytes(row.data)
        assert json.loads(document, parse_int=str, parse_float=str)["data"] == json.loads(
            data, parse_int=str, parse_float=str
        )
