"""What a process shows of its main loop: to systemd, and to who asks."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from dispatcher.metrics import progress
from dispatcher.metrics.progress import STANDS_AFTER, TELL_EVERY, Progress, own, take_over

Told = Callable[[], list[str]]


@pytest.fixture(params=["a path", "an abstract name"])
def told(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """What systemd was told since the last look."""
    address = str(tmp_path / "n") if request.param == "a path" else f"@dispatcher-tests-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.setblocking(False)
        systemd.bind(address.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)

        def look() -> list[str]:
            found = []
            with suppress(BlockingIOError):
                while True:
                    found.append(systemd.recv(100).decode())
            return found

        yield look


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock on by so many seconds."""
    now = [monotonic()]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_a_loop_that_turns_tells_systemd_now_and_then(told: Told, clock: Callable[[float], None]) -> None:
    shown = Progress()
    for _ in range(30):
        shown.turned()
        clock(TELL_EVERY / 10)
    assert told() == ["WATCHDOG=1"] * 3


def test_a_process_says_that_it_works_once_it_does(told: Told) -> None:
    shown = Progress()
    assert (shown.is_ready, told()) == (False, [])
    shown.begin()
    assert (shown.is_ready, told()) == (True, ["READY=1"])


def test_a_loop_stands_that_has_not_turned_for_long(clock: Callable[[float], None]) -> None:
    shown = Progress()
    clock(STANDS_AFTER - 1)
    assert not shown.stands
    clock(2)
    assert shown.stands
    shown.note()
    assert not shown.stands


def test_who_forks_a_process_sees_what_it_notes_and_is_the_one_that_systemd_hears(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_own", None)
    forked = Progress()
    if (pid := os.fork()) == 0:
        take_over(forked)
        own().begin()
        own().turned()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (forked.is_ready, own().is_ready, told()) == (True, False, [])


@pytest.mark.parametrize("address", ["", "/no/such/socket", "no address"])
def test_where_nobody_listens_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    shown = Progress()
    shown.begin()
    shown.turned()
    assert shown.is_ready
