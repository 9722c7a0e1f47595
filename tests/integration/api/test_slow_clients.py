"""A client holds a connection only while a request is served: what trickles in or is never read ends it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from dispatcher.web import http_protocol, middleware
from dispatcher.web.http_protocol import MOST_PIECES
from tests.integration.api.conftest import Api, running_app

BEGUN = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = 20.0  # seconds; with the limits taken out, a connection lasts longer


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(http_protocol, "UNREAD_SECONDS", 0.4)


@contextmanager
def connected(origin: str, first: bytes = b"") -> Iterator[socket.socket]:
    place = urlsplit(origin)
    with socket.create_connection((place.hostname, place.port), timeout=LONG) as connection:
        connection.sendall(first)
        yield connection


def trickled(connection: socket.socket, drop: bytes, every: float = 0.05) -> bytes:
    """What comes back while drops are sent, to the end of the connection."""
    answer, began = b"", monotonic()
    connection.settimeout(every)
    while monotonic() - began < LONG:
        with suppress(TimeoutError):
            try:
                piece = connection.recv(65536)
            except ConnectionError:
                return answer
            if not piece:
                return answer
            answer += piece
        with suppress(ConnectionError):
            connection.send(drop)
    raise AssertionError(f"the connection is still open, after {answer[:100]!r}")


def test_a_connection_on_which_nothing_is_sent_is_closed(api: Api) -> None:
    with connected(api.origin) as connection:
        assert connection.recv(100) == b""


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", b"X-Slow: 1\r\n", id="headers"),
        pytest.param(b"GET / HTTP/1.1\r\nX-Slow: ", b"s", id="one header"),
        pytest.param(b"GET /", b"s", id="a path"),
    ],
)
@pytest.mark.parametrize("before", [b"", HEALTH], ids=["at once", "after a request"])
def test_a_head_that_trickles_is_answered_and_cut(api: Api, before: bytes, first: bytes, drop: bytes) -> None:
    with connected(api.origin, before) as connection:
        if before:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(first)
        answer = trickled(connection, drop)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"connection: close\r\n" in answer


def test_blank_lines_before_a_request_do_not_hold_a_connection(api: Api) -> None:
    with connected(api.origin) as connection:
        assert trickled(connection, b"\r\n") == b""
    with connected(api.origin, HEALTH) as connection:
        assert trickled(connection, b"\r\n").startswith(b"HTTP/1.1 200")


def test_the_rest_of_a_body_whose_request_was_answered_does_not_hold_a_connection(api: Api) -> None:
    head = BEGUN % b"unknown" + b"Content-Length: 1000000\r\n\r\n"
    with connected(api.origin, head) as connection:
        answer = trickled(connection, b"x")
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_trickles_is_answered_and_cut(api: Api, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_BODY_SECONDS", 0.4)
    head = BEGUN % token.encode() + b"Content-Length: 1000000\r\n\r\n"
    with connected(api.origin, head) as connection:
        answer = trickled(connection, b"x")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body did not arrive in time" in answer


def test_a_head_that_trickles_while_another_request_is_served_ends_with_its_answer() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(1.0)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    with running_app(slow) as origin, connected(origin, HEALTH + b"GET / HTTP/1.1\r\nX: ") as connection:
        answer = trickled(connection, b"s")
    assert answer.startswith(b"HTTP/1.1 204")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_client_that_does_not_read_its_answer_is_cut() -> None:
    ended: list[BaseException | None] = []

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1_000):
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await send({"type": "http.response.body"})
            ended.append(None)

    with running_app(large) as origin, connected(origin, HEALTH) as connection:
        began = monotonic()
        while not ended and monotonic() - began < LONG:
            sleep(0.05)
        assert ended
        connection.settimeout(LONG)
        with suppress(ConnectionError):
            while connection.recv(1_000_000):
                pass


def test_quick_requests_on_one_connection_are_none_of_that(api: Api) -> None:
    with connected(api.origin) as connection:
        for _ in range(12):
            connection.sendall(HEALTH)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            sleep(0.06)


def test_trailers_are_no_headers_and_bounded(api: Api) -> None:
    head = BEGUN.replace(b"Authorization: Bearer %s\r\n", b"") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    with connected(api.origin, head) as connection:
        answer = trickled(connection, b"X-T: 1\r\n" * 1_000)
    assert answer.endswith(b"The request has too many headers or trailers.")


def test_a_body_in_very_many_chunks_is_refused(api: Api, token: str) -> None:
    head = BEGUN % token.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    with connected(api.origin, head) as connection:
        answer = trickled(connection, b"1\r\n \r\n" * 2_000, every=0.01)
    assert answer.endswith(b"The body comes in too many pieces.")


@pytest.mark.parametrize(
    ("size", "pieces", "status"), [(1, MOST_PIECES, b"200"), (1, MOST_PIECES + 1, b"400"), (256, 10_000, b"200")]
)
def test_a_body_may_have_a_piece_for_each_256_bytes_and_some_thousands_more(
    api: Api, token: str, size: int, pieces: int, status: bytes
) -> None:
    head = BEGUN.replace(b"events", b"events/batch") % token.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b'{"events":[{"type":"a","data":1}]}'.ljust(size * pieces)
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, body[at : at + size]) for at in range(0, len(body), size))
    with connected(api.origin, head + chunks + b"0\r\n\r\n") as connection:
        assert connection.recv(65536).split(b" ", 2)[1] == status
