"""Whoever uses the broker follows its master, which sentinels watch."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import Signals

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.asgi import create_app
from dispatcher.broker import presence
from dispatcher.embedded.given_servers import ask_broker
from dispatcher.settings import Settings, read_settings
from dispatcher.wake import PARKED, Waker
from dispatcher.web.rate_limits import RateLimits
from tests.factories import MESSAGE, RECEIVED, deliveries, make_webhook
from tests.installations import close_installations
from tests.integration.api.conftest import running_app
from tests.integration.workers.parked import parked_loops, until
from tests.receiver import Receiver
from tests.sentinels import PASSWORD, SENTINELS_PASSWORD, Watched, watched_servers
from workers import bell as bell_module

CHANGES: dict[str, Callable[[Watched], None]] = {
    "is replaced": Watched.fail_over,
    "is killed": lambda watched: watched.lose_master(Signals.SIGKILL),
    "hangs": lambda watched: watched.lose_master(Signals.SIGSTOP),
}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_servers(tmp_path) as servers:
        yield servers


@pytest.fixture
def settings(watched: Watched, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("BROKER_URL", watched.url)
    close_installations()
    return read_settings()


@pytest.mark.parametrize("change", CHANGES)
def test_producers_loops_counts_and_health_follow_the_master(
    watched: Watched,
    settings: Settings,
    database: Engine,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: str,
) -> None:
    monkeypatch.setattr(bell_module, "SAFETY", 600.0)  # who is not told anything does nothing
    monkeypatch.setattr(presence, "PAUSE", 0.05)
    make_webhook(database, settings, url=receiver.url("/hook"))
    limits = RateLimits(watched.url, 1)

    def all_is_delivered() -> bool:
        return {row.state for row in deliveries(database)} == {"delivered"}

    with running_app(create_app()) as origin, parked_loops(monkeypatch, settings) as (loop,):
        enqueue(RECEIVED, MESSAGE, account="acme")
        until(all_is_delivered)
        assert [limits.seconds_to_wait("k") > 0 for _ in range(2)] == [False, True]
        assert requests.get(f"{origin}/readyz", timeout=30).json()["status"] == "ready"

        CHANGES[change](watched)

        with watched.client() as master:
            until(lambda: loop.is_parked and master.get(PARKED))
        rings = loop.rings

        def rang() -> bool:
            enqueue(RECEIVED, MESSAGE, account="acme")
            time.sleep(0.05)
            return loop.rings > rings

        until(rang)
        until(all_is_delivered)
        until(lambda: limits.seconds_to_wait("k2") > 0)
        with watched.client() as master:
            assert master.keys("*dispatcher:requests*k2*")
        assert requests.get(f"{origin}/readyz", timeout=30).json()["status"] == "ready"
    ask_broker(watched.url)
    for planted in (PASSWORD, SENTINELS_PASSWORD):
        assert planted not in caplog.text


def test_a_message_goes_to_the_master_too(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "PAUSE", 0.05)
    waker = Waker(watched.url)
    assert waker.wake()
    with watched.client() as master:
        assert master.llen("deliver") == 1
    watched.fail_over()
    with watched.client() as master:
        master.flushall()
        until(waker.wake)
        assert master.llen("deliver") == 1
