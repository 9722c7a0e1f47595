"""`POST /v1/events/batch` does what `enqueue_many` does: one receipt per event, in order."""

import json
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.events.event import MAX_DATA_BYTES
from dispatcher.settings import Settings
from dispatcher.web.middleware import MAX_EVENTS_BYTES
from tests.factories import deliver_all, make_account, make_webhook, rows
from tests.integration.api.conftest import Api, MakeKey
from tests.receiver import Receiver

PATH = "/v1/events/batch"
EVENT = {"type": "message.sent", "data": 1}


def post(api: Api, token: str, body: Any, **headers: str) -> requests.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.call("POST", PATH, token=token, data=content, headers=headers)


def stored(database: Engine) -> list[bytes]:
    return [bytes(row.data) for row in rows(database, "SELECT data FROM dispatcher.events ORDER BY id")]


def test_each_events_data_reaches_the_receiver_byte_for_byte(
    api: Api, token: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    messages = [
        '{ "id":123456789012345678901234567890 , "a":1,"a":1.10}',
        '"\\ud800 \\u00e9 é"',
        "[1E400,\n[]]",
        "null",
    ]
    body = ",\n ".join(f'{{"data" : {message},"type":"message.sent"}}' for message in messages)
    answer = post(api, token, f'{{"events":[{body}]}}'.encode())
    document = answer.json()
    assert (answer.status_code, document["accepted"], document["refused"]) == (200, 4, 0)
    deliver_all(settings)
    assert {request.body for request in receiver.received} == {f"[{message}]".encode() for message in messages}
    ids = [str(row.id) for row in rows(database, "SELECT id FROM dispatcher.events ORDER BY id")]
    assert [item["event_id"] for item in document["items"]] == ids
    assert {(item["status"], item["deliveries"], item["repeated"]) for item in document["items"]} == {
        ("accepted", 1, False)
    }


def test_what_is_refused_is_reported_at_its_place_and_its_neighbours_go_in(
    api: Api, token: str, database: Engine
) -> None:
    make_account(database, "other")
    events = [
        {**EVENT, "idempotency_key": "k"},
        {"type": "no type", "data": 1},
        {**EVENT, "idempotency_key": "k"},
        {**EVENT, "data": 2, "idempotency_key": "k"},
        [],
        {"data": 1, "nope": 1, "subject": 5},
        {**EVENT, "account": "other"},
        {**EVENT, "account": "nobody"},
        {**EVENT, "data": "x" * MAX_DATA_BYTES},
        {**EVENT, "expires_at": "2026-01-01T00:00:00"},
        {**EVENT, "subject": "a\0b"},
        {**EVENT, "account": "acme", "data": 3},
    ]
    document = post(api, token, {"events": events}).json()
    assert (document["accepted"], document["refused"]) == (3, 9)
    items = document["items"]
    assert [item["status"] == "accepted" for item in items] == [number in {0, 2, 11} for number in range(12)]
    assert (items[0]["repeated"], items[2]["repeated"]) == (False, True)
    assert items[0]["event_id"] == items[2]["event_id"]
    refused = [{error["field"] for error in item["errors"]} for item in items if item["status"] == "refused"]
    assert refused == [
        {"type"}, {"idempotency_key"}, {"event"}, {"type", "nope", "subject"}, {"account"}, {"account"}, {"data"},
        {"expires_at"}, {"subject"},
    ]  # fmt: skip
    assert items[6] == items[7]
    assert stored(database) == [b"1", b"3"]


def test_an_operators_events_each_name_their_account(api: Api, make_key: MakeKey, database: Engine) -> None:
    operator = make_key(None, Scope.OPERATOR)
    for name in ("acme", "other"):
        make_account(database, name)
    events = [{**EVENT, "account": "acme"}, {**EVENT, "account": "other"}, EVENT, {**EVENT, "account": "nobody"}]
    items = post(api, operator, {"events": events}).json()["items"]
    assert [item["status"] for item in items] == ["accepted", "accepted", "refused", "refused"]
    assert [item["errors"][0]["field"] for item in items[2:]] == ["account", "account"]
    names = rows(
        database, "SELECT a.name FROM dispatcher.events e JOIN dispatcher.accounts a ON a.id = account_id ORDER BY e.id"
    )
    assert [row.name for row in names] == ["acme", "other"]


def test_a_thousand_go_in_and_one_more_does_not(api: Api, token: str, database: Engine) -> None:
    assert post(api, token, {"events": [EVENT] * 1000}).json()["accepted"] == 1000
    answer = post(api, token, {"events": [EVENT] * 1001})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "events")
    assert len(stored(database)) == 1000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"events":[1,]}', 400),
        (b'{"events":[' + b"[" * 50_000 + b"]" * 50_000 + b"]}", 400),
        (b'{"events":[],"events":[]}', 400),
        (b'{"events":["\xff"]}', 400),
        (b'{"events":[]}', 422),
        (b'{"events":null}', 422),
        (b'{"events":{}}', 422),
        (b'{"event":[1]}', 422),
        (b'{"events":[1],"x":1}', 422),
    ],
)
def test_a_body_of_another_form_is_refused_as_a_whole(
    api: Api, token: str, database: Engine, body: bytes, status: int
) -> None:
    assert post(api, token, body).status_code == status
    assert stored(database) == []


def test_an_idempotency_key_for_all_of_them_is_refused(api: Api, token: str, database: Engine) -> None:
    answer = post(api, token, {"events": [EVENT]}, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert stored(database) == []


def test_the_limit_of_its_body_is_its_own(api: Api, token: str, database: Engine) -> None:
    data = "x" * (MAX_DATA_BYTES - 100)
    assert post(api, token, {"events": [{**EVENT, "data": data}] * 30}).json()["accepted"] == 30
    for size in (MAX_EVENTS_BYTES + 1, 3 * MAX_EVENTS_BYTES):
        answer = post(api, token, b'{"events":[]}'.ljust(size))
        assert (answer.status_code, str(MAX_EVENTS_BYTES) in answer.json()["detail"]) == (413, True)


def test_only_a_key_that_may_send_can(api: Api, make_key: MakeKey, database: Engine) -> None:
    assert post(api, make_key("acme", Scope.READ, Scope.MANAGE), {"events": [EVENT]}).status_code == 403
    assert post(api, "x.y", {"events": [EVENT]}).status_code == 401
    assert stored(database) == []


def test_the_place_in_a_trace_is_that_of_all_of_them(api: Api, token: str, database: Engine) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert post(api, token, {"events": [EVENT, {}, EVENT]}, traceparent=given).json()["accepted"] == 2
    assert [row.traceparent for row in rows(database, "SELECT traceparent FROM dispatcher.events")] == [given, given]
