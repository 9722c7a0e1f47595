"""Requests of one account that keep threads busy run a few at a time, so that others find threads."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.mail_links import Purpose
from dispatcher.api.events.taking import LARGE
from dispatcher.events import waiting_room
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from dispatcher.web.account_turns import (
    BATCHES_AT_ONCE,
    LARGE_EVENTS_AT_ONCE,
    READS_AT_ONCE,
    UNSENT_AT_ONCE,
    WRITES_AT_ONCE,
)
from dispatcher.web.http_protocol import DispatcherHttpProtocol
from tests.factories import make_account, rows
from tests.integration.api.conftest import Api, MakeKey
from tests.integration.workers.notices.scenario import webhook_with_contact
from tests.process_table import eventually

MANY = 50  # more than the threads of a process


class Held:
    """Calls of one function, each of which waits until all may go on."""

    def __init__(self, held: Callable[..., Any]) -> None:
        self.running = self.most = 0
        self._held, self._counting, self.go_on = held, threading.Lock(), threading.Event()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with self._counting:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert self.go_on.wait(30)
            return self._held(*arguments, **named)
        finally:
            with self._counting:
                self.running -= 1


@pytest.fixture
def other(make_key: MakeKey, database: Engine) -> str:
    make_account(database, "other")
    return make_key("other", Scope.READ)


@contextmanager
def holding(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> Iterator[Held]:
    held = Held(getattr(__import__(module, fromlist=[name]), name))
    monkeypatch.setattr(f"{module}.{name}", held)
    try:
        yield held
    finally:
        held.go_on.set()


def most_at_once(api: Api, held: Held, other: str, call: Callable[[], int], expected: int, status: int) -> None:
    with ThreadPoolExecutor(MANY + 1) as threads:
        calls = [threads.submit(call) for _ in range(MANY)]
        try:
            assert eventually(lambda: held.running >= expected)
            looked = threads.submit(lambda: api.call("GET", "/v1/webhooks", token=other).status_code)
            assert looked.result(10) == 200
        finally:
            held.go_on.set()
        assert {one.result(60) for one in calls} == {status}
    assert held.most == expected


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many connections have something in the server's memory that their clients have not taken."""
    connections, made = list[DispatcherHttpProtocol](), DispatcherHttpProtocol.connection_made

    def connection_made(self: DispatcherHttpProtocol, transport: asyncio.Transport) -> None:
        # Between programs of one machine the kernel takes megabytes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        made(self, transport)
        connections.append(self)

    monkeypatch.setattr(DispatcherHttpProtocol, "connection_made", connection_made)
    return lambda: sum(connection.transport.get_write_buffer_size() > 0 for connection in connections)


def asked(origin: str, request: bytes) -> socket.socket:
    """A connection on which a request is sent, and so far nothing read."""
    place, connection = urlsplit(origin), socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(30)
    connection.connect((place.hostname, place.port))
    connection.sendall(request)
    return connection


def read_to_the_end(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(partial(connection.recv, 1_000_000), b""))


@pytest.mark.parametrize("what", ["an event", "receipts", "/docs", "/openapi.json"])
def test_of_answers_that_no_client_takes_few_are_in_memory(
    api: Api, make_key: MakeKey, other: str, unsent: Callable[[], int], what: str
) -> None:
    """Of one account, or to one address where nobody needs a key."""
    token, path, body = make_key("acme", Scope.READ, Scope.SEND), what, b""
    if what == "an event":
        event = api.post_event({"type": "a", "data": "x" * 250_000}, token=token).json()
        path = f"/v1/events/{event['event_id']}"
    elif what == "receipts":  # of refused events, which name what was refused
        path, odd = "/v1/events/batch", {f"{number}{'x' * 250}": 1 for number in range(20)}
        body = json.dumps({"events": [odd] * 60}).encode()
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    request = f"{head}\r\nAuthorization: Bearer {token}\r\n\r\n".encode() + body
    number = UNSENT_AT_ONCE + 4
    with ThreadPoolExecutor(number) as threads:
        connections = list(threads.map(asked, [api.origin] * number, [request] * number))
        try:
            assert eventually(lambda: unsent() >= UNSENT_AT_ONCE)
            assert [api.call("GET", "/v1/webhooks", token=other).status_code for _ in range(5)] == [200] * 5
            assert unsent() == UNSENT_AT_ONCE
        finally:
            answers = list(threads.map(read_to_the_end, connections))
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert len({len(answer) for answer in answers}) == 1


def test_of_lists_that_are_being_sent_piece_by_piece_an_account_has_few(
    api: Api, make_key: MakeKey, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, held, go_on = make_key("acme", Scope.READ), 0, threading.Event()
    send_it = StreamingResponse.__call__

    async def sent(self: StreamingResponse, scope: Any, receive: Any, send: Any) -> None:
        nonlocal held
        held += 1
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await send_it(self, scope, receive, send)

    monkeypatch.setattr(StreamingResponse, "__call__", sent)
    path = "/bulksms/v1/webhooks"
    with ThreadPoolExecutor(MANY) as threads:
        calls = [threads.submit(lambda: api.call("GET", path, token=token).status_code) for _ in range(MANY)]
        try:
            assert eventually(lambda: held >= UNSENT_AT_ONCE)
            assert [api.call("GET", "/v1/webhooks", token=other).status_code for _ in range(5)] == [200] * 5
            assert held == UNSENT_AT_ONCE
        finally:
            go_on.set()
        assert {one.result(60) for one in calls} == {200}


@pytest.mark.parametrize(
    ("module", "path"),
    [
        ("dispatcher.api.webhooks.routes", f"/v1/webhooks/{UUID(int=1)}"),
        ("dispatcher.dialects.frame", "/bulksms/v1/webhooks/1"),
    ],
)
def test_of_many_changes_few_run_and_another_account_does_not_wait_for_them(
    api: Api, manager: str, other: str, monkeypatch: pytest.MonkeyPatch, module: str, path: str
) -> None:
    with holding(monkeypatch, module, "remove") as held:
        most_at_once(api, held, other, lambda: api.call("DELETE", path, token=manager).status_code, WRITES_AT_ONCE, 404)


def test_so_it_is_with_batches_of_events(
    api: Api, make_key: MakeKey, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, batch = make_key("acme", Scope.SEND), {"events": [{"type": "a", "data": 1}]}
    with holding(monkeypatch, "dispatcher.api.events.routes", "read_events") as held:
        most_at_once(
            api,
            held,
            other,
            lambda: api.call("POST", "/v1/events/batch", batch, token=key).status_code,
            BATCHES_AT_ONCE,
            200,
        )


def test_so_it_is_with_large_events(api: Api, token: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = {"type": "a", "data": "x" * LARGE}
    with holding(monkeypatch, "dispatcher.api.events.taking", "read_event") as held:
        most_at_once(
            api, held, other, lambda: api.post_event(large, token=token).status_code, LARGE_EVENTS_AT_ONCE, 202
        )


def test_no_more_of_them_wait_than_there_is_room_for(api: Api, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "ROOM_BYTES", 3 * LARGE)
    large = {"type": "a", "data": "x" * LARGE}
    with holding(monkeypatch, "dispatcher.api.events.taking", "read_event") as held, ThreadPoolExecutor(1) as threads:
        first = threads.submit(api.post_event, large, token=token)
        assert eventually(lambda: held.running == 1)
        refused = api.post_event(large, token=token)
        held.go_on.set()
    assert (refused.status_code, first.result().status_code) == (503, 202)
    assert refused.json()["detail"] == "too many events of this account are waiting to be stored"
    assert api.post_event(large, token=token).status_code == 202


def test_so_it_is_with_what_is_said_about_one_contact(
    api: Api,
    other: str,
    database: Engine,
    settings: Settings,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    webhook_with_contact(database, settings)
    (contact,) = rows(database, "SELECT id FROM dispatcher.recipients")
    until = datetime.now(UTC) + timedelta(days=1)
    link = installation.mail_links.token(Purpose.UNSUBSCRIBE, contact.id, until)
    with holding(monkeypatch, "dispatcher.api.pages.contact", "unsubscribe") as held:
        most_at_once(
            api,
            held,
            other,
            lambda: api.call("POST", f"/contact?link={link}").status_code,
            READS_AT_ONCE,
            200,
        )
