"""`POST /v1/events` does what `enqueue` does: by its shortcut, and by the framework's route."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.api.events import shortcut
from dispatcher.events.event import MAX_DATA_BYTES
from dispatcher.settings import Settings
from dispatcher.web.middleware import MAX_BODY_BYTES
from tests.factories import change, deliver_all, make_account, make_webhook, rows
from tests.integration.api.conftest import Api, MakeKey
from tests.integration.api.test_hostile_requests import raw_exchange
from tests.receiver import Receiver

EVENT = {"type": "message.sent", "data": {"id": 1}}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(params=["shortcut", "route"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "route":
        monkeypatch.setattr(shortcut, "_PATH", "/nowhere")


def stored(database: Engine) -> list[bytes]:
    return [bytes(row.data) for row in rows(database, "SELECT data FROM dispatcher.events ORDER BY id")]


def test_the_very_bytes_of_data_reach_the_receiver(
    api: Api, token: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    data = '{ "id": 123456789012345678901234567890, "price": 1.10, "e": 1E400, "text": "na\\u00efve 🎉" }'
    answer = api.post_event(f'{{"data" : {data}\n, "type":"message.sent"}}'.encode(), token=token)
    assert answer.status_code == 202
    document = answer.json()
    assert (document["deliveries"], document["repeated"]) == (1, False)
    deliver_all(settings)
    (received,) = receiver.received
    assert received.body == f"[{data}]".encode()
    assert received.header("Dispatcher-Event-Id") == document["event_id"]


def test_every_member_is_kept(api: Api, token: str, database: Engine) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    answer = api.post_event(
        {
            **EVENT,
            "app": "shop",
            "subject": "msg-1",
            "idempotency_key": "k-1",
            "occurred_at": "2026-01-02T03:04:05+02:00",
            "expires_at": expires.isoformat(),
        },
        token=token,
    )
    (event,) = rows(
        database, "SELECT e.*, a.name FROM dispatcher.events e JOIN dispatcher.accounts a ON a.id = account_id"
    )
    assert event.id == UUID(answer.json()["event_id"])
    assert (event.name, event.app, event.type, event.subject) == ("acme", "shop", "message.sent", "msg-1")
    assert event.occurred_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert event.expires_at == expires


@pytest.mark.parametrize("data", ["null", "0", '""', "[]", "false"])
def test_any_json_is_data(api: Api, token: str, database: Engine, data: str) -> None:
    assert api.post_event(f'{{"type":"message","data":{data}}}'.encode(), token=token).status_code == 202
    assert stored(database) == [data.encode()]


def test_an_idempotency_key_in_body_or_header_stores_once(api: Api, token: str, database: Engine) -> None:
    first = api.post_event({**EVENT, "idempotency_key": "k"}, token=token)
    again = api.post_event(EVENT, token=token, headers={"Idempotency-Key": "k"})
    both = api.post_event({**EVENT, "idempotency_key": "k"}, token=token, headers={"Idempotency-Key": "k"})
    assert [answer.status_code for answer in (first, again, both)] == [202, 202, 202]
    assert {answer.json()["event_id"] for answer in (first, again, both)} == {first.json()["event_id"]}
    assert [answer.json()["repeated"] for answer in (first, again, both)] == [False, True, True]
    assert len(stored(database)) == 1


def test_a_key_with_other_content_is_a_conflict(api: Api, token: str, database: Engine) -> None:
    api.post_event({**EVENT, "idempotency_key": "k"}, token=token)
    answer = api.post_event({**EVENT, "data": 2, "idempotency_key": "k"}, token=token)
    assert (answer.status_code, answer.json()["title"]) == (409, "Conflict")
    assert len(stored(database)) == 1


def test_two_different_keys_for_one_event_are_refused(api: Api, token: str, database: Engine) -> None:
    answer = api.post_event({**EVENT, "idempotency_key": "a"}, token=token, headers={"Idempotency-Key": "b"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "idempotency_key")
    assert stored(database) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": 1}, "type"),
        ({"type": "message"}, "data"),
        ({"type": "no spaces", "data": 1}, "type"),
        ({"type": 7, "data": 1}, "type"),
        ({"type": None, "data": 1}, "type"),
        ({"type": "message", "data": 1, "sort": "x"}, "sort"),
        ({"type": "message", "data": 1, "subject": 17}, "subject"),
        ({"type": "message", "data": 1, "subject": ""}, "subject"),
        ({"type": "message", "data": 1, "subject": "x" * 256}, "subject"),
        ({"type": "message", "data": 1, "subject": "a\0b"}, "subject"),
        ({"type": "message", "data": 1, "app": []}, "app"),
        ({"type": "message", "data": 1, "idempotency_key": "x" * 256}, "idempotency_key"),
        ({"type": "message", "data": 1, "occurred_at": "yesterday"}, "occurred_at"),
        ({"type": "message", "data": 1, "occurred_at": "2026-01-01T00:00:00"}, "occurred_at"),
        ({"type": "message", "data": 1, "expires_at": 1767225600}, "expires_at"),
        ({"type": "message", "data": 1, "expires_at": "9999-12-31T23:59:00-05:00"}, "expires_at"),
        ({"type": "message", "data": 1, "occurred_at": "0001-01-01T00:00:00+05:00"}, "occurred_at"),
        ({"type": "message", "data": "x" * (MAX_DATA_BYTES - 1)}, "data"),
    ],
)
def test_a_member_that_is_refused_is_named(
    api: Api, token: str, database: Engine, body: dict[str, object], field: str
) -> None:
    answer = api.post_event(body, token=token)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert len(answer.content) < 1000
    assert stored(database) == []


def test_all_refused_members_are_named_at_once(api: Api, token: str) -> None:
    answer = api.post_event({"subject": 1, "nope": 2}, token=token)
    assert {error["field"] for error in answer.json()["errors"]} == {"type", "data", "subject", "nope"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"planted-payload",
        b"[1]",
        b'{"type":"message","data":planted-payload}',
        b'{"type":"message","data":NaN}',
        b'{"type":"message","data":1,"data":2}',
        b'{"type":"message","data":"\xff"}',
        b'{"type":"message","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_a_bad_request_and_not_repeated(
    api: Api, token: str, database: Engine, body: bytes
) -> None:
    answer = api.post_event(body, token=token)
    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")
    assert "planted-payload" not in answer.text
    assert stored(database) == []


def test_a_lone_surrogate_where_it_cannot_be_kept_is_refused(api: Api, token: str, database: Engine) -> None:
    assert api.post_event(b'{"type":"message","data":1,"subject":"\\ud800"}', token=token).status_code == 422
    assert stored(database) == []
    assert api.post_event(b'{"type":"message","data":"\\ud800"}', token=token).status_code == 202
    assert stored(database) == [b'"\\ud800"']


def test_a_message_of_the_full_size_fits(api: Api, token: str, database: Engine) -> None:
    data = b'"' + b"x" * (MAX_DATA_BYTES - 2) + b'"'
    assert api.post_event(b'{"type":"message","data":' + data + b"}", token=token).status_code == 202
    assert stored(database) == [data]


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 3 * MAX_BODY_BYTES])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused(api: Api, token: str, database: Engine, size: int, announced: bool) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"type":"message","data":1}'
        left = size - 27
        while left > 0:
            yield b" " * min(left, 65536)
            left -= 65536

    answer = api.post_event(b"".join(pieces()) if announced else pieces(), token=token)
    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    assert stored(database) == []


def test_without_a_valid_key_nothing_is_taken_and_nothing_shown(api: Api, make_key: MakeKey, database: Engine) -> None:
    valid = make_key()
    identifier, _, secret = valid.partition(".")
    expired, revoked = make_key(valid_for=timedelta(days=1)), make_key()
    expired_id, revoked_id = (UUID(token.partition(".")[0]) for token in (expired, revoked))
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE id = :id", id=expired_id)
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now() WHERE id = :id", id=revoked_id)
    answers = [
        api.post_event(EVENT),
        *(
            api.post_event(EVENT, token=token)
            for token in (expired, revoked, f"{identifier}.wrong", f"{UUID(int=1)}.{secret}", secret, "x", f"{valid} x")
        ),
        *(
            api.post_event(EVENT, headers={"Authorization": value})
            for value in ("Bearer", "Basic", "Basic !", "Basic eDp5", f"Digest {valid}", valid)
        ),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer ") for answer in answers)
    assert stored(database) == []


def test_a_key_works_as_http_basic_too(api: Api, token: str) -> None:
    identifier, _, secret = token.partition(".")
    assert api.post_event(EVENT, auth=(identifier, secret)).status_code == 202
    assert api.post_event(EVENT, auth=(identifier, "wrong")).status_code == 401


def test_a_key_without_the_scope_is_forbidden(api: Api, make_key: MakeKey, database: Engine) -> None:
    answer = api.post_event(EVENT, token=make_key("acme", Scope.READ, Scope.MANAGE))
    assert (answer.status_code, "`send`" in answer.json()["detail"]) == (403, True)
    assert stored(database) == []


def test_a_key_speaks_for_its_own_account_only(api: Api, token: str, database: Engine) -> None:
    make_account(database, "other")
    assert api.post_event({**EVENT, "account": "acme"}, token=token).status_code == 202
    existing = api.post_event({**EVENT, "account": "other"}, token=token)
    absent = api.post_event({**EVENT, "account": "nobody"}, token=token)
    assert existing.status_code == absent.status_code == 403
    assert existing.content == absent.content
    assert len(stored(database)) == 1


def test_an_operators_key_names_the_account(api: Api, make_key: MakeKey, database: Engine) -> None:
    operator = make_key(None, Scope.OPERATOR)
    make_account(database, "acme")
    assert api.post_event({**EVENT, "account": "acme"}, token=operator).status_code == 202
    for body in (EVENT, {**EVENT, "account": "nobody"}):
        answer = api.post_event(body, token=operator)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "account")
    assert len(stored(database)) == 1


def test_every_answer_has_a_request_id_of_its_own(api: Api, token: str) -> None:
    answers = [api.post_event(EVENT, token=token), api.post_event({}), api.get("/nowhere"), api.get("/healthz")]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len({UUID(identifier) for identifier in ids}) == len(answers)


def test_paths_and_methods_that_do_not_exist_are_problems_too(api: Api) -> None:
    for answer, status in ((api.get("/nowhere"), 404), (api.get("/oauth2/token"), 405)):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status


def test_openapi_describes_body_answers_and_problems(api: Api) -> None:
    document = api.get("/openapi.json").json()
    operation = document["paths"]["/v1/events"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    body = document["components"]["schemas"][reference.removeprefix("#/components/schemas/")]
    assert set(body["properties"]) == {
        *("type", "data", "account", "app", "subject", "idempotency_key", "occurred_at", "expires_at")
    }
    assert (body["required"], body["additionalProperties"]) == (["type", "data"], False)
    assert set(operation["responses"]) == {"202", "400", "401", "403", "408", "409", "413", "422", "429", "503"}
    for status, response in operation["responses"].items():
        assert list(response["content"]) == ["application/json" if status == "202" else "application/problem+json"]
    assert operation["security"] == [{"Bearer": ["send"]}, {"Basic": ["send"]}]
    assert "#/$defs" not in json.dumps(document)


def test_an_event_that_no_webhook_takes_is_answered_with_the_nearest_types(
    api: Api, token: str, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["message.outbound.sent"])
    missed = api.post_event({**EVENT, "type": "mesage.outbound.sent"}, token=token).json()
    assert (missed["deliveries"], missed["nearest_types"]) == (0, ["message.outbound.sent"])
    taken = api.post_event({**EVENT, "type": "message.outbound.sent"}, token=token).json()
    assert (taken["deliveries"], taken["nearest_types"]) == (1, [])
    many = [{**EVENT, "type": name} for name in ("mesage.outbound.sent", "message.outbound.sent", "invoice.paid")]
    answer = api.call("POST", "/v1/events/batch", {"events": many}, token=token).json()
    assert [item["nearest_types"] for item in answer["items"]] == [["message.outbound.sent"], [], []]


def test_the_place_in_a_trace_is_kept_and_shown_and_one_that_is_not_valid_is_ignored(
    api: Api, make_key: MakeKey, database: Engine
) -> None:
    token = make_key("acme", Scope.SEND, Scope.READ)

    def shown(traceparent: str) -> str | None:
        answer = api.call("POST", "/v1/events", token=token, json=EVENT, headers={"traceparent": traceparent})
        assert answer.status_code == 202
        event: dict[str, str | None] = api.call("GET", f"/v1/events/{answer.json()['event_id']}", token=token).json()
        return event["traceparent"]

    assert shown(TRACEPARENT) == TRACEPARENT
    assert shown(TRACEPARENT.upper()) is None
    assert shown(f"{TRACEPARENT}, {TRACEPARENT}") is None


def test_two_places_in_a_trace_are_none(api: Api, token: str, database: Engine) -> None:
    body = json.dumps(EVENT)
    head = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
    traced = f"traceparent: {TRACEPARENT}\r\n" * 2
    request = f"{head}{traced}Content-Length: {len(body)}\r\n\r\n{body}"
    assert b" 202 " in raw_exchange(api, request.encode())
    assert [row.traceparent for row in rows(database, "SELECT traceparent FROM dispatcher.events")] == [None]
