"""Whose progress a node shows, and when."""

from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from types import SimpleNamespace

import pytest
from kombu import Connection
from pydantic import SecretStr

from dispatcher.installation import Installation
from dispatcher.metrics import progress
from dispatcher.metrics.progress import STANDS_AFTER, Progress, own
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from workers import consumer, forking, starting
from workers.metrics.port import Port


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process, as it is at its start; nothing of it is told."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(progress, "_own", None)


def stand(shown: Progress) -> None:
    """It has not turned for long."""
    shown._cells[progress._TURNED] = monotonic() - STANDS_AFTER - 1


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port("127.0.0.1", refusing_port(), SecretStr("a-token-of-the-tests"))
    yield made
    made._socket.close()


def status(port: Port, path: str) -> int:
    """Of an answer to who shows no token."""
    return int(port._answer_to(f"GET {path} HTTP/1.1\r\n\r\n".encode()).split()[1])


def test_a_node_is_well_while_its_loop_turns_and_ready_once_it_takes_work(port: Port) -> None:
    assert (status(port, "/healthz"), status(port, "/readyz")) == (200, 503)
    own().begin()
    assert (status(port, "/healthz"), status(port, "/readyz")) == (200, 200)
    stand(own())
    assert (status(port, "/healthz"), status(port, "/readyz")) == (503, 200)
    assert status(port, "/metrics") == 401


def test_a_node_that_waits_for_its_broker_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    def end() -> None:
        raise Enough

    monkeypatch.setattr(consumer, "maybe_shutdown", end)
    stand(own())
    with (
        Connection(f"redis://127.0.0.1:{refusing_port()}/0") as connection,
        pytest.raises(Enough),
    ):
        consumer.Consumer.ensure_connected(SimpleNamespace(), connection)
    assert not own().stands


def test_a_node_that_waits_for_its_database_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    def end(_: float) -> None:
        raise Enough

    monkeypatch.setattr(starting, "sleep", end)
    away = Settings(
        database_url=f"postgresql://nobody@127.0.0.1:{refusing_port()}/x",  # type: ignore[arg-type]
        broker_url=f"redis://127.0.0.1:{refusing_port()}/0",  # type: ignore[arg-type]
    )
    stand(own())
    with closing(Installation(away)) as installation, pytest.raises(Enough):
        starting.wait_until_fit(installation)
    assert not own().stands


def test_who_started_several_is_as_well_as_the_least_of_them() -> None:
    one, other = Progress(), Progress()
    stand(own())
    stand(other)
    forking._tell_of([one, other])
    assert own().stands
    other.note()
    forking._tell_of([one, other])
    assert not own().stands


def test_who_started_several_is_ready_when_all_are() -> None:
    one, other = Progress(), Progress()
    one.begin()
    forking._tell_of([one, other])
    assert not own().is_ready
    other.begin()
    forking._tell_of([one, other])
    assert own().is_ready
