"""Hostile requests get a problem document that names what is wrong, and steer neither its reader nor the log."""

import json
import logging
import socket
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.web.http_protocol import MAX_HEADERS, MAX_PARAMETERS, MAX_URL_BYTES
from tests import hostile_values
from tests.factories import rows
from tests.hostile_values import steering
from tests.integration.api.conftest import Api, MakeKey

FIELDS = ["type", "account", "app", "subject", "idempotency_key", "occurred_at", "expires_at", "x\x1b[2J\u202e"]


def raw_exchange(api: Api, request: bytes) -> bytes:
    """What the server answers to these bytes, to the end of the connection."""
    place = urlsplit(api.origin)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("field", FIELDS, ids=ascii)
def test_a_hostile_member_is_taken_or_named_in_a_harmless_answer(
    api: Api, make_key: MakeKey, database: Engine, field: str
) -> None:
    operator = make_key(None, Scope.OPERATOR)
    make_key("acme")
    values = [
        *map(json.dumps, hostile_values.ALL.values()),
        "9" * 100_000,
        "1e400",
        "[" * 500 + "]" * 500,
        "{}",
        "null",
    ]
    taken = 0
    for raw in values:
        others = {name: value for name, value in {"type": '"a"', "account": '"acme"'}.items() if name != field}
        members = [f'"{name}":{value}' for name, value in [*others.items(), ("data", "1")]]
        body = "{" + ",".join([*members, f"{json.dumps(field)}:{raw}"]) + "}"
        answer = api.post_event(body.encode(), token=operator)
        assert answer.status_code in {202, 400, 413, 422}, raw[:100]
        assert answer.content.isascii()
        assert not steering(answer.text, allowed="")
        assert len(answer.content) < 1_500
        taken += answer.status_code == 202
        if answer.status_code == 422:
            assert {error["field"] for error in answer.json()["errors"]} <= {field, "body"}
    assert taken == len(rows(database, "SELECT 1 FROM dispatcher.events"))
    optional = 1 if field in {"app", "subject", "idempotency_key", "occurred_at", "expires_at"} else 0  # null
    texts = len(hostile_values.TEXTS) if field in {"app", "subject", "idempotency_key"} else 0
    assert taken == texts + optional


def test_a_key_that_is_used_again_is_reported_without_harm(api: Api, token: str, database: Engine) -> None:
    for text in hostile_values.TEXTS.values():
        event = {"type": "a", "idempotency_key": text}
        assert api.post_event({**event, "data": 1}, token=token).status_code == 202
        answer = api.post_event({**event, "data": 2}, token=token)
        assert answer.status_code == 409
        assert not steering(answer.text, allowed="")


def test_of_many_wrong_members_the_first_are_reported(api: Api, token: str) -> None:
    members = ",".join(f'"{number}":1' for number in range(90))
    answer = api.post_event(f'{{"type":"a","data":1,{members}}}'.encode(), token=token)
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)
    assert len(answer.content) < 3_000


def test_a_name_that_stands_twice_is_not_repeated(api: Api, token: str) -> None:
    name = json.dumps("\u202e" * 20_000)
    answer = api.post_event(f'{{"type":"a","data":1,{name}:1,{name}:2}}'.encode(), token=token)
    assert (answer.status_code, len(answer.content) < 300) == (400, True)


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "Content-Type", "X-Request-Id", "X-Odd"])
def test_a_hostile_header_is_no_error_of_the_server(
    api: Api, token: str, database: Engine, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    body = b'{"type":"a","data":1}'
    usual = {"Host": b"x", "Connection": b"close", "Authorization": b"Bearer " + token.encode()}
    for raw in [*(text.encode() for text in hostile_values.TEXTS.values()), *hostile_values.NO_UTF8.values(), b"\0"]:
        for prefix in (b"", b"Bearer ", b"Basic ") if name == "Authorization" else (b"",):
            head = {**usual, name: prefix + raw, "Content-Length": b"%d" % len(body)}
            lines = b"".join(key.encode() + b": " + value + b"\r\n" for key, value in head.items())
            answer = raw_exchange(api, b"POST /v1/events HTTP/1.1\r\n" + lines + b"\r\n" + body)
            status = answer.split(b" ", 2)[1]
            assert status in {b"202", b"400", b"401", b"422"}, (raw, answer)
            assert not steering(answer.decode(), allowed="\r\n")
            assert name != "Authorization" or status in {b"400", b"401"}
    assert not steering("".join(record.getMessage() for record in caplog.records))


@pytest.mark.parametrize(
    "target",
    [b"/\x1b[2J", b"/%1b%5d0;x%07%e2%80%ae", b"/v1/events/%00", b"/healthz?%0d%0aX:1", b"/\xff", b"*", b"/" * 9_000],
)
def test_a_hostile_path_is_not_found_and_steers_no_log(
    api: Api, caplog: pytest.LogCaptureFixture, target: bytes
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = raw_exchange(api, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.split(b" ", 2)[1] in {b"200" if target.startswith(b"/healthz") else b"404", b"400", b"401"}
    assert not steering(answer.decode(), allowed="\r\n")
    for record in caplog.records:
        assert not steering(record.getMessage())


@pytest.mark.parametrize("path", ["/v1/webhooks/", "/v1/events/", "/bulksms"])
def test_a_path_with_a_slash_too_many_or_too_few_leads_nowhere(api: Api, manager: str, path: str) -> None:
    answer = api.call("GET", path, token=manager, headers={"Host": "elsewhere.example.com"}, allow_redirects=False)
    assert (answer.status_code, answer.headers.get("Location")) == (404, None)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", [b"/v1/webhooks/", b"/contact?link=", b"/v1/events?"])
def test_a_long_url_is_refused_before_it_is_taken_apart(api: Api, path: bytes) -> None:
    """Whether there is such a path, and whoever asks."""
    longest = path + b"%41" * ((MAX_URL_BYTES - len(path)) // 3)
    for url, status in ((longest, b"401"), (longest + b"%41", b"400")):
        answer = raw_exchange(api, b"GET " + url + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        expected = b"404" if path.startswith(b"/contact") and status == b"401" else status
        assert answer.split(b" ", 2)[1] == expected
    assert answer.endswith(b"The URL of the request is too long.")


@pytest.mark.parametrize("path", [b"/healthz?", b"/zipwhip/webhook/list?", b"/contact?"])
def test_of_many_parameters_the_hundred_and_first_ends_the_request(api: Api, path: bytes) -> None:
    """Whether they have names, and whoever asks."""
    for number, refused in ((MAX_PARAMETERS, False), (MAX_PARAMETERS + 1, True)):
        url = path + b"&".join([b"a="] * (number - 1) + [b""])
        answer = raw_exchange(api, b"GET " + url + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.endswith(b"The URL of the request has too many parameters.") is refused
        assert (answer.split(b" ", 2)[1] == b"400") is refused


def test_of_many_headers_the_hundred_and_first_ends_the_request(api: Api) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    for number, status in ((MAX_HEADERS - 2, b"200"), (MAX_HEADERS - 1, b"400")):
        answer = raw_exchange(api, head + b"a:b\r\n" * number + b"\r\n")
        assert answer.split(b" ", 2)[1] == status
    assert answer.endswith(b"The request has too many headers or trailers.")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n",
        b"GET / HTTP/7.7\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-More: 0123456789\r\n" * 4_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000,
    ],
    ids=lambda request: ascii(request)[:40],
)
def test_what_is_no_http_is_a_bad_request(api: Api, request_: bytes) -> None:
    assert raw_exchange(api, request_).startswith(b"HTTP/1.1 400")
    assert api.get("/healthz").status_code == 200
