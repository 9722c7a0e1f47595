"""What a process does while the broker is away: counted are the tries to connect, and who makes them."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from dispatcher.broker import presence
from dispatcher.wake import Waker
from dispatcher.web.rate_limits import RateLimits
from tests.dead_ports import UnansweringPort, refusing_port
from tests.unit.dispatcher.conftest import until

_watched: list[tuple[int, int]] = []  # port and thread of each try


def _watch(event: str, arguments: Any) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _watched.append((arguments[1][1], threading.get_ident()))


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(_watch)


@contextmanager
def silent() -> Iterator[int]:
    """Takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture(params=["refuses", "black hole", "silent"])
def dead(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a broker that is away."""
    with ExitStack() as stack:
        match request.param:
            case "refuses":
                yield refusing_port()
            case "black hole":
                yield stack.enter_context(UnansweringPort()).port
            case _:
                yield stack.enter_context(silent())


def tries(port: int) -> list[int]:
    """The threads that have tried to connect there, one by one."""
    return [thread for tried, thread in _watched if tried == port]


USERS: dict[str, Callable[[str], Callable[[], object]]] = {
    "wake": lambda url: Waker(url).wake,
    "count a request": lambda url: partial(RateLimits(url, 1).seconds_to_wait, "k"),
}


@pytest.mark.parametrize("user", USERS)
def test_after_one_try_nobody_waits_for_a_broker_that_is_away(
    dead: int, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, here = USERS[user](f"redis://127.0.0.1:{dead}"), threading.get_ident()
    _watched.clear()
    use()
    assert tries(dead) == [here]
    for _ in range(200):
        use()
    assert tries(dead) == [here]
    monkeypatch.setattr(presence, "PAUSE", 0.0)  # the next looks may follow one another at once
    monkeypatch.setattr(presence.time, "monotonic", lambda: 1e9)
    until(lambda: (use(), len(tries(dead)) > 2)[1])
    assert tries(dead).count(here) == 1


def test_a_child_that_was_forked_during_an_outage_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "PAUSE", 0.0)
    may_look, answers = threading.Event(), [False]

    def look() -> None:
        may_look.wait(10)
        if not answers[0]:
            raise ConnectionError

    seen = presence.Presence(lambda _: None)
    seen.failed(ConnectionError())
    assert seen.is_away(look)  # a thread looks, here
    answers[0] = True
    if not (child := os.fork()):
        may_look.set()
        status = 1
        for _ in range(10_000):
            if not seen.is_away(look):
                status = 0
                break
            threading.Event().wait(0.001)
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    may_look.set()
    until(lambda: not seen.is_away(look))


def test_an_outage_is_told_once_and_the_next_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "PAUSE", 0.0)
    told: list[str] = []
    there, looks = threading.Event(), [0]

    def look() -> None:
        looks[0] += 1
        if not there.is_set():
            raise TimeoutError

    seen = presence.Presence(told.append)
    for outage in (1, 2):
        there.clear()
        looks[0] = 0
        seen.failed(ConnectionError())
        until(lambda: (seen.is_away(look), looks[0] > 3)[1])
        seen.failed(ConnectionError())
        assert told == ["ConnectionError"] * outage
        there.set()
        until(lambda: not seen.is_away(look))
