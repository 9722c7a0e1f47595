"""Every mechanism tells alike which sockets are ready."""

import select
import selectors
import socket
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from dispatcher.transport.curl.poller import (
    IDLE_END,
    IDLE_INPUT,
    READABLE,
    WRITABLE,
    EpollReadiness,
    Readiness,
    SelectorReadiness,
    new_readiness,
)

KINDS: list[Callable[[], Readiness]] = [lambda: SelectorReadiness(selectors.SelectSelector())]
if hasattr(select, "epoll"):
    KINDS.append(EpollReadiness)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=KINDS, ids=["selector", "epoll"][: len(KINDS)])
def readiness(request: pytest.FixtureRequest) -> Iterator[Readiness]:
    made: Readiness = request.param()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    yield here, there
    here.close()
    there.close()


def test_what_is_wanted_is_reported_and_nothing_else(readiness: Readiness, pair: Pair) -> None:
    here, there = pair
    readiness.watch(here.fileno(), READABLE)
    assert readiness.ready(0) == []
    there.send(b"x")
    assert readiness.ready(5) == [(here.fileno(), READABLE)]
    readiness.watch(here.fileno(), READABLE | WRITABLE)
    assert readiness.ready(5) == [(here.fileno(), READABLE | WRITABLE)]
    readiness.watch(here.fileno(), WRITABLE)
    assert readiness.ready(5) == [(here.fileno(), WRITABLE)]


def test_what_is_watched_no_more_is_not_ready_for_anything(readiness: Readiness, pair: Pair) -> None:
    here, there = pair
    readiness.watch(here.fileno(), READABLE)
    readiness.unwatch(here.fileno())
    readiness.unwatch(here.fileno())
    there.send(b"x")
    assert [ready for _, ready in readiness.ready(0)] in ([], [IDLE_INPUT])
    readiness.ready(0)
    assert readiness.ready(0) == []  # though it was not read
    readiness.watch(here.fileno(), READABLE)
    assert readiness.ready(5) == [(here.fileno(), READABLE)]


def test_a_hang_up_wakes_whoever_waits(readiness: Readiness, pair: Pair) -> None:
    here, there = pair
    readiness.watch(here.fileno(), READABLE)
    there.close()
    ((descriptor, ready),) = readiness.ready(5)
    assert (descriptor, ready & READABLE) == (here.fileno(), READABLE)


def test_another_socket_of_the_same_number_is_watched_anew(readiness: Readiness) -> None:
    for _ in range(3):
        here, there = socket.socketpair()
        readiness.watch(here.fileno(), READABLE)
        there.send(b"x")
        assert readiness.ready(5) == [(here.fileno(), READABLE)]
        readiness.unwatch(here.fileno())
        here.close()
        there.close()
    assert readiness.ready(0) == []


def test_waiting_ends_in_time_and_not_before(readiness: Readiness) -> None:
    began = monotonic()
    assert readiness.ready(0.0204) == []
    assert 0.0204 <= monotonic() - began < 2
    assert readiness.ready(-5.0) == []


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux only")
@pytest.mark.parametrize("last", [READABLE, WRITABLE, READABLE | WRITABLE])
def test_what_comes_on_a_connection_that_is_kept_is_reported_each_time_and_so_is_its_end(pair: Pair, last: int) -> None:
    here, there = pair
    readiness = EpollReadiness()
    readiness.watch(here.fileno(), last)
    readiness.unwatch(here.fileno())
    for _ in range(2):
        there.send(b"unasked")
        assert readiness.ready(5) == [(here.fileno(), IDLE_INPUT)]
        readiness.ready(0)
        assert readiness.ready(0) == []
    there.shutdown(socket.SHUT_WR)
    assert readiness.ready(5) == [(here.fileno(), IDLE_END)]
    assert readiness.ready(0) == []
    readiness.close()


def test_this_system_has_one() -> None:
    readiness = new_readiness()
    assert isinstance(readiness, EpollReadiness if hasattr(select, "epoll") else SelectorReadiness)
    readiness.close()
