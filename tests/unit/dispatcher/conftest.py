"""A broker inside the test's process, and time that passes when the test says so."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from time import sleep
from typing import Any
from uuid import uuid4

import pytest
from fakeredis import FakeRedis, FakeRedisConnection, FakeServer


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self._now = 1_800_000_000.0

    def time(self) -> float:
        return self._now

    monotonic = time

    def go_on(self, seconds: float) -> None:
        self._now += seconds


def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread brings about."""
    for _ in range(10_000):
        if condition():
            return
        sleep(0.001)
    raise AssertionError("it did not happen")


async def while_no_thread_is_free(work: Coroutine[Any, Any, None]) -> None:
    """Does this while all threads of the event loop wait, for a database say."""
    held = Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    waiting = asyncio.create_task(asyncio.to_thread(held.wait))
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(work, 5)
    finally:
        held.set()
        await waiting


@dataclass(frozen=True, slots=True)
class FakeBroker:
    """A broker under a URL of its own, and a client to look into it. Whoever connects to a broker reaches it."""

    url: str
    client: FakeRedis
    server: FakeServer

    def go_away(self) -> None:
        self.server.connected = False

    def come_back(self) -> None:
        self.server.connected = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that the fake broker, what counts in it, and those who wait for it go by."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    for module in ("dispatcher.broker.presence", "dispatcher.web.quotas", "dispatcher.web.rate_limits"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@pytest.fixture
def fake_broker(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    server = FakeServer()

    class Connection(FakeRedisConnection):
        def __init__(self, **options: Any) -> None:
            super().__init__(server=server, **options)

    monkeypatch.setattr("kombu.transport.redis.Channel.connection_class", Connection)
    monkeypatch.setattr("redis.Connection", Connection)
    with FakeRedis(server=server, decode_responses=True) as client:
        # Kombu keeps its pools by URL, for the whole process: no other test may have this one.
        yield FakeBroker(f"redis://{uuid4().hex}.invalid/0", client, server)
