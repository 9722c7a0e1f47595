"""Requests of one account that keep threads busy run a few at a time, so that others find threads."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import Response
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


@pytest.mark.parametrize("path", ["/v1/webhooks", "/bulksms/v1/webhooks"])
def test_of_answers_that_nobody_takes_an_account_has_few(
    api: Api, make_key: MakeKey, other: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    token, held, go_on = make_key("acme", Scope.READ), 0, threading.Event()

    def hold(kind: type[Response]) -> None:
        send_it = kind.__call__

        async def sent(self: Response, scope: Any, receive: Any, send: Any) -> None:
            nonlocal held
            if (b"authorization", f"Bearer {token}".encode()) in scope["headers"]:
                held += 1
                while not go_on.is_set():
                    await asyncio.sleep(0.01)
            await send_it(self, scope, receive, send)

        monkeypatch.setattr(kind, "__call__", sent)

    hold(Response)
    hold(StreamingResponse)
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
