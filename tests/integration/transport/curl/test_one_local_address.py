"""Connections to several receivers may have one local address, when few are left: none is taken for another."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.transport.curl import transfers
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Exchange, Reply
from dispatcher.transport.failure_texts import KEPT_CLOSED, OVER_BUDGET
from tests.allowed import LOOPBACK
from tests.behaviours import NO_ANSWER, Endless, chunked, final
from tests.integration.transport.conftest import Sender, request_to
from tests.receiver import Receiver


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[CurlTransport]:
    """All its connections have one local address."""
    plain = transfers._OpenedSocket
    local = ("127.0.0.1", 0)

    def opened(*arguments: Any) -> socket.socket:
        nonlocal local
        made = plain(*arguments)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(local)
        local = made.getsockname()
        return made

    monkeypatch.setattr(transfers, "_OpenedSocket", opened)
    transport = CurlTransport(addresses=LOOPBACK)
    yield transport
    transport.close()


def test_the_end_of_one_does_not_have_a_request_to_another_sent_twice(
    transport: CurlTransport, receiver: Receiver
) -> None:
    sender = Sender(transport)
    with Receiver() as hostile:
        assert sender.reply(receiver.url()).status == 200
        assert sender.reply(hostile.url()).status == 200
        hostile.close_idle()
        assert transport.wait(0.1) == []
        receiver.script("/", NO_ANSWER)
        outcome = sender.exchange(receiver.url(), body=b"[2]").outcome
    assert [got.body for got in receiver.received] == [b"[]", b"[2]"]
    assert outcome == KEPT_CLOSED


def test_one_that_is_cut_takes_no_other_with_it(transport: CurlTransport, receiver: Receiver) -> None:
    hold = receiver.gate()
    receiver.script("/", (hold, final(200)))
    with Receiver() as hostile:
        hostile.script("/", chunked(b"5;", Endless(b"e" * 65_536)))
        transport.send(request_to(receiver.url()))
        while not receiver.received:
            assert transport.wait(0.01) == []
        transport.send(request_to(hostile.url()))
        ended: list[Exchange] = transport.wait(5)
        hold.open()
        while len(ended) < 2:
            ended += transport.wait(5)
    assert ended[0].outcome == OVER_BUDGET
    assert isinstance(ended[1].outcome, Reply)
