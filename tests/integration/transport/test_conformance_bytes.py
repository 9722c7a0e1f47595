"""Every byte in every part of an answer's head: both transports take it as it is, or call the answer broken."""

import pytest

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from tests.behaviours import Do
from tests.integration.transport.conftest import Sender, request_to
from tests.receiver import Receiver

BYTES = [bytes([number]) for number in range(256)]
HEADS = {
    "the reason": b"HTTP/1.1 404 a%sb\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "a value": b"HTTP/1.1 404 OK\r\nX-Odd: a%sb\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "a name": b"HTTP/1.1 404 OK\r\nX%sOdd: ab\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "a length": b"HTTP/1.1 404 OK\r\nConnection: close\r\nContent-Length: %s0\r\n\r\n",
}


@pytest.mark.parametrize("part", HEADS)
def test_every_byte_of_a_head_is_taken_or_breaks_the_answer(sender: Sender, receiver: Receiver, part: str) -> None:
    transport = sender.transport
    waiting = []
    for number, byte in enumerate(BYTES):
        receiver.script(f"/{number}", (HEADS[part] % byte, Do.CLOSE))
        waiting.append(request_to(receiver.url(f"/{number}")))
    outcomes: dict[str, Reply | Failure] = {}
    open_ones = 0
    while waiting or open_ones:
        while waiting and open_ones < transport.capacity:
            transport.send(waiting.pop())
            open_ones += 1
        for exchange in transport.wait(15):
            outcomes[exchange.request.url.rpartition("/")[2]] = exchange.outcome
            open_ones -= 1
    assert len(outcomes) == len(BYTES)
    taken = set()
    for number, outcome in outcomes.items():
        if isinstance(outcome, Failure):
            assert outcome.kind is FailureKind.BROKEN_ANSWER, number
            continue
        assert (outcome.status, outcome.body) == (404, b"")
        text = "\n".join(f"{name}: {value}" for name, value in outcome.headers)
        assert not {"\0", "\r"} & set(text), number
        taken.add(int(number))
    printable = {*range(0x21, 0x7F), *range(0x80, 0x100), 0x20, 0x09}
    match part:
        case "the reason" | "a value":
            assert taken >= printable
            assert 0 not in taken
        case "a name":
            assert taken >= {*b"-!#$%&'*+.^_`|~", *range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)}
            assert not taken & {0x00}
        case "a length":
            assert taken <= {*b"0", *b" \t", 0x0A, 0x0D}


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\x85", b"\xa0"])
def test_only_blanks_and_tabs_are_around_a_value(sender: Sender, receiver: Receiver, byte: bytes) -> None:
    value = byte + b"a" + byte
    receiver.script("/", (b"HTTP/1.1 404 OK\r\nX-Odd: \t " + value + b" \t\r\nContent-Length: 0\r\n\r\n",))
    assert sender.reply(receiver.url()).headers[0] == ("X-Odd", value.decode("latin-1"))
