"""Descriptors of the owner that end a wait."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.behaviours import final
from tests.integration.transport.conftest import NewTransport, request_to
from tests.receiver import Receiver

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_a_wait_ends_as_soon_as_one_can_be_read_and_leaves_it_unread(new_transport: NewTransport, pair: Pair) -> None:
    transport, (here, there) = new_transport(), pair
    transport.watch({here.fileno()})
    threading.Timer(0.1, there.send, (b"x",)).start()
    began = time.monotonic()
    assert transport.wait(20) == []
    assert time.monotonic() - began < 15
    assert transport.wait(20) == [], "it still can be read"
    assert here.recv(10) == b"x"


def test_it_ends_a_wait_for_a_request_and_the_request_goes_on(
    new_transport: NewTransport, receiver: Receiver, pair: Pair
) -> None:
    gate = receiver.gate()
    receiver.script("/slow", (gate, final(200)))
    transport, (here, there) = new_transport(), pair
    transport.watch({here.fileno()})
    transport.send(request_to(receiver.url("/slow")))
    receiver_has_it = threading.Thread(target=lambda: (receiver.wait_for(1), there.send(b"x")))
    receiver_has_it.start()
    assert transport.wait(20) == []
    receiver_has_it.join()
    assert here.recv(10) == b"x"
    gate.open()
    (exchange,) = transport.wait(20)
    assert exchange.request.url.endswith("/slow")


def test_what_is_no_longer_watched_ends_nothing_and_is_not_touched(new_transport: NewTransport, pair: Pair) -> None:
    transport, (here, there) = new_transport(), pair
    transport.watch({here.fileno()})
    transport.watch(frozenset())
    there.send(b"$x")  # not what TLS would send
    began = time.monotonic()
    assert transport.wait(0.2) == []
    assert time.monotonic() - began >= 0.2
    assert here.recv(10) == b"$x"
    there.send(b"y")
    assert here.recv(10) == b"y"


def test_another_one_of_the_same_number_is_watched(new_transport: NewTransport) -> None:
    transport = new_transport()
    here, there = socket.socketpair()
    number = here.fileno()
    transport.watch({number})
    here.close()
    there.close()
    here, there = socket.socketpair()
    with here, there:
        if here.fileno() != number:
            os.dup2(here.fileno(), number)
        transport.watch({number})
        threading.Timer(0.1, there.send, (b"x",)).start()
        began = time.monotonic()
        assert transport.wait(20) == []
        assert time.monotonic() - began < 15
        if here.fileno() != number:
            os.close(number)
