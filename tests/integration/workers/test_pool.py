"""Which pools a worker may have, and what it waits for before it works."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from celery import signals
from celery.concurrency import get_implementation
from sqlalchemy import Engine

from dispatcher.db.engines import CONNECT_SECONDS, MAINTENANCE
from dispatcher.db.version import newest_migration
from dispatcher.settings import Settings
from tests.factories import change
from tests.relay import Relay, relayed
from workers import celery_app
from workers.app import make_app
from workers.celery_app import make_celery


@dataclass(eq=False)
class Node:
    """A worker as Celery passes it to the signal."""

    pool_cls: type
    options: dict[str, str | None]


@pytest.mark.parametrize(("pool", "autoscale"), [("solo", None), ("threads", None), ("prefork", "4,2")])
def test_a_worker_without_processes_of_its_own_refuses_to_start(
    settings: Settings, pool: str, autoscale: str | None
) -> None:
    app = make_celery(settings)
    before = list(signals.worker_init.receivers)
    try:
        with pytest.raises(SystemExit, match="pool `prefork`"):
            signals.worker_init.send(Node(get_implementation(pool), {"autoscale": autoscale}))
    finally:
        signals.worker_init.receivers = before
        app.close()


@pytest.fixture
def behind(settings: Settings) -> Iterator[tuple[Relay, Settings]]:
    with relayed(settings) as behind:
        yield behind


@pytest.fixture
def starts(behind: tuple[Relay, Settings]) -> Iterator[Callable[[], "Future[None]"]]:
    """Starts a worker as far as to its checks, with its database behind a relay."""
    before, apps = list(signals.worker_init.receivers), []

    def send() -> None:
        apps.append(make_celery(behind[1]))
        signals.worker_init.receivers = signals.worker_init.receivers[len(before) :]  # of this app alone
        signals.worker_init.send(Node(get_implementation("prefork"), {"autoscale": None}))

    with ThreadPoolExecutor(1) as pool:
        yield lambda: pool.submit(send)
    signals.worker_init.receivers = before
    for app in apps:
        app.close()


def test_a_new_child_may_wait_for_its_database_as_long_as_that_may_take(settings: Settings) -> None:
    """It may have to recover what the one before left. Celery would kill it after 4 s, and each one after it."""
    longest = CONNECT_SECONDS + MAINTENANCE.statement * 1.125
    assert make_app(settings).conf.worker_proc_alive_timeout > longest


@pytest.mark.parametrize("begins", [Relay.cut, Relay.be_silent])
def test_a_worker_that_starts_before_its_database_is_there_waits_for_it_and_says_so_once(
    starts: Callable[[], "Future[None]"],
    behind: tuple[Relay, Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    begins: Callable[[Relay], None],
) -> None:
    shared: list[str] = []  # without it, what children had claimed when they died is not recovered
    monkeypatch.setattr(celery_app, "share", lambda: shared.append("memory"))
    monkeypatch.setattr("workers.starting.AGAIN", 0.01)
    relay, _ = behind
    begins(relay)
    start = starts()
    said = ""
    while "the worker waits" not in said:
        assert not start.done()
        said += capsys.readouterr().out
    assert shared == ["memory"]
    relay.restore()
    start.result(20)
    said += capsys.readouterr().out
    assert said.count("the worker waits for its database") == 1
    assert "the database (DATABASE_URL) does not answer" in said
    assert "the worker starts" in said


def test_a_worker_that_waited_says_what_is_wrong_with_its_database_and_ends(
    starts: Callable[[], "Future[None]"],
    behind: tuple[Relay, Settings],
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.starting.AGAIN", 0.01)
    relay, _ = behind
    relay.cut()
    start = starts()
    change(database, "UPDATE dispatcher.migrations SET version_num = '0001'")
    try:
        relay.restore()
        with pytest.raises(SystemExit, match="run `dispatcher migrate`"):
            start.result(20)
    finally:
        change(database, "UPDATE dispatcher.migrations SET version_num = :newest", newest=newest_migration())
