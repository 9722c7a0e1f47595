"""Every transport bounds what comes with an answer, whatever it is: bytes that are neither head nor body count, too."""

from time import monotonic

import pytest

from dispatcher.transport.exchange import Reply
from dispatcher.transport.failure_texts import OVER_BUDGET
from dispatcher.transport.port import ANSWER_CAP, ANSWER_PIECES, BODY_CAP
from tests.behaviours import Answer, Endless, Step, chunked, interim
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver

FLOODS = [
    pytest.param(chunked(b"5;", Endless(b"e" * 65_536)), id="a chunk's extension"),
    pytest.param(chunked(b"5 ", Endless(b" " * 65_536)), id="blanks after a chunk's size"),
    pytest.param(chunked(b"0\r\n", Endless(b"X-T: 1\r\n" * 8_000)), id="trailers"),
    pytest.param((Endless(interim(103, *[("X-F", "f" * 4_000)] * 15)),), id="interim answers with large heads"),
    pytest.param((Endless(interim(103, *[("X-F", "f")] * 190)),), id="interim answers with many headers"),
]


@pytest.mark.parametrize("steps", FLOODS)
def test_a_receiver_that_sends_without_end_is_cut_long_before_the_deadline(
    sender: Sender, receiver: Receiver, steps: tuple[Step, ...]
) -> None:
    receiver.script("/", steps)
    began = monotonic()
    outcome = sender.exchange(receiver.url(), timeout=60.0).outcome
    assert monotonic() - began < 30
    assert outcome == OVER_BUDGET or getattr(outcome, "kind", "") == "broken_answer"
    assert sender.reply(receiver.url("/next")).status == 200
    assert receiver.connections == 2


@pytest.mark.parametrize("steps", FLOODS[2:3] + FLOODS[:1])
def test_it_is_a_failure_with_a_reason_of_its_own(sender: Sender, receiver: Receiver, steps: tuple[Step, ...]) -> None:
    receiver.script("/", steps)
    assert sender.exchange(receiver.url()).outcome == OVER_BUDGET


@pytest.mark.parametrize("status", [200, 503])
def test_of_a_body_in_very_many_chunks_the_beginning_is_read_and_the_status_decides(
    sender: Sender, receiver: Receiver, status: int
) -> None:
    head = b"HTTP/1.1 %d Odd\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    receiver.script("/", (head + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n",))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body_cut, reply.body_unreadable) == (status, True, False)
    assert ANSWER_PIECES - 10 <= len(reply.body) <= ANSWER_PIECES
    assert sender.reply(receiver.url("/next")).status == 200


def test_an_answer_with_all_that_is_allowed_is_whole(sender: Sender, receiver: Receiver) -> None:
    early = interim(103, ("X-Early", "e" * 10_000)) * 20
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"h" * 600) for number in range(100))
    body = b"".join(b"%x;%s\r\n%s\r\n" % (320, b"e" * 300, b"b" * 320) for _ in range(BODY_CAP // 320))
    trailers = b"".join(b"X-T-%d: t\r\n" % number for number in range(100))
    answer = early + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + lines + b"\r\n" + body + b"0\r\n"
    answer += trailers + b"\r\n"
    assert len(answer) < ANSWER_CAP
    receiver.script("/", (answer,))
    reply = sender.reply(receiver.url())
    assert (len(reply.body), reply.body_cut, len(reply.headers)) == (BODY_CAP // 320 * 320, False, 101)
    assert sender.reply(receiver.url("/next")).status == 200
    assert receiver.connections == 1


def test_what_one_answer_used_up_is_not_taken_from_the_next_on_its_connection(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.script("/", Answer(200, tuple((f"X-{n}", "h" * 600) for n in range(100)), b"b" * BODY_CAP))
    for _ in range(ANSWER_CAP // BODY_CAP + 2):
        outcome = sender.exchange(receiver.url()).outcome
        assert isinstance(outcome, Reply)
        assert len(outcome.body) == BODY_CAP
    assert receiver.connections == 1
