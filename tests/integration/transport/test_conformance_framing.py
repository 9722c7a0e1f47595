"""Every transport finds the end of a body alike, and nothing behind it reaches another request."""

import gzip
import zlib

import pytest

from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.port import BODY_CAP
from tests.behaviours import Answer, Do, Drip, Endless, Pause, Step, chunked, final
from tests.integration.transport.conftest import NewTransport, Sender
from tests.receiver import Receiver

# Chunks


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\r\nhello\r\n000\r\n\r\n", id="several zeros at the end"),
        pytest.param(b"5 \r\nhello\r\n0\r\n\r\n", id="a blank after the size"),
        pytest.param(b"5;" + b"x" * 300_000 + b"\r\nhello\r\n0\r\n\r\n", id="a huge extension"),
        pytest.param(b"5\r\nhello\r\n0;" + b"x" * 2000 + b"\r\n\r\n", id="an extension of the last chunk"),
        pytest.param(b"5\r\nhello\r\n0\r\nX-A: 1\r\nContent-Length: 9\r\n\r\n", id="trailers"),
        pytest.param(b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n", id="a chunk a byte"),
    ],
)
def test_unusual_chunks_are_read_and_the_connection_stays(sender: Sender, receiver: Receiver, body: bytes) -> None:
    receiver.script("/", chunked(body))
    assert sender.reply(receiver.url(), timeout=2.0).body == b"hello"
    assert sender.reply(receiver.url("/next")).status == 200
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="a chunk longer than its size"),
        pytest.param(b"5\r\nhello\r\n", id="no last chunk"),
        pytest.param(b"5\r\nhello\r\n0\r\n", id="nothing after the last chunk"),
        pytest.param(b"5\r\nhello\r\n0\r\nX-Half", id="half a trailer"),
        pytest.param(b"\r\nhello\r\n0\r\n\r\n", id="an empty size"),
        pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="a size with 0x"),
        pytest.param(b"+5\r\nhello\r\n0\r\n\r\n", id="a size with a sign"),
        pytest.param(b"5\r\nhello\r\n-0\r\n\r\n", id="a negative end"),
        pytest.param(b"10000000000000005\r\nhello\r\n0\r\n\r\n", id="a size beyond 64 bits"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="no chunk at all"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_broken_chunks_are_a_broken_answer(sender: Sender, receiver: Receiver, body: bytes) -> None:
    receiver.script("/", chunked(body, Do.CLOSE))
    assert sender.failure(receiver.url(), timeout=0.7) is FailureKind.BROKEN_ANSWER
    assert sender.reply(receiver.url("/next")).status == 200


def test_a_chunk_extension_without_end_lasts_until_the_deadline_at_most(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", chunked(b"5;", Endless(b"x" * 1000, 0.001)))
    assert sender.failure(receiver.url(), timeout=0.4) in {FailureKind.TIMEOUT, FailureKind.BROKEN_ANSWER}


def test_a_trailer_without_end_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", chunked(b"0\r\nX-T: ", Endless(b"t" * 4000)))
    kinds = {FailureKind.TIMEOUT, FailureKind.BROKEN_ANSWER, FailureKind.HEADERS_TOO_LARGE}
    assert sender.failure(receiver.url(), timeout=0.4) in kinds


# Lengths


@pytest.mark.parametrize("order", [1, -1])
def test_chunks_go_before_a_length_and_what_follows_is_no_answer(
    sender: Sender, receiver: Receiver, order: int
) -> None:
    framing = (b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n")[::order]
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(framing) + b"\r\n"
    receiver.script("/", (head + b"5\r\nhello\r\n0\r\n\r\n",))
    receiver.script("/next", Answer(201))
    assert sender.reply(receiver.url(), timeout=1.0).body == b"hello"
    assert sender.reply(receiver.url("/next")).status == 201


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello",), id="a body of a 204"),
        pytest.param((b"HTTP/1.1 304 None\r\n\r\n" + final(403),), id="an answer after a 304"),
        pytest.param((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + final(403),), id="an answer after a body"),
        pytest.param((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\r\n",), id="an empty line"),
        pytest.param(chunked(b"0\r\n\r\n" + final(403)), id="an answer after the chunks"),
    ],
)
def test_what_follows_an_answer_is_not_taken_for_the_next_one(
    sender: Sender, receiver: Receiver, steps: tuple[Step, ...]
) -> None:
    receiver.script("/", steps)
    receiver.script("/next", Answer(201, body=b"mine"))
    assert sender.reply(receiver.url(), timeout=1.0).status in {200, 204, 304}
    reply = sender.reply(receiver.url("/next"), timeout=1.0)
    assert (reply.status, reply.body) == (201, b"mine")


@pytest.mark.parametrize("unasked", [final(403, b"unasked"), final(403)[:20], b"\r\n"])
def test_what_comes_on_an_idle_connection_is_not_taken_for_the_next_answer(
    new_transport: NewTransport, receiver: Receiver, unasked: bytes
) -> None:
    sender, other = Sender(new_transport()), Sender(new_transport())
    gate = receiver.gate()
    receiver.script("/", (final(200), gate, unasked))
    receiver.script("/next", Answer(201, body=b"mine"))
    assert sender.reply(receiver.url()).status == 200
    gate.open()
    assert other.reply(receiver.url("/other")).status == 200  # taken up after the gate: what is unasked has been sent
    reply = sender.reply(receiver.url("/next"), timeout=1.0)
    assert (reply.status, reply.body) == (201, b"mine")


def test_a_body_in_a_drip_is_read_whole_within_the_deadline(sender: Sender, receiver: Receiver) -> None:
    body = b"slow but sure " * 10
    receiver.script("/", (b"HTTP/1.1 200 OK\r\nContent-Length: 140\r\n\r\n", Drip(body, every=0.002)))
    assert sender.reply(receiver.url()).body == body


def test_a_body_until_closed_that_is_reset_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (b"HTTP/1.1 200 OK\r\n\r\nhalf", Pause(0.1), Do.RESET))
    assert sender.failure(receiver.url()) is FailureKind.CONNECTION_RESET


def test_a_body_until_closed_that_goes_on_past_the_deadline_is_a_timeout(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (b"HTTP/1.1 200 OK\r\n\r\nhalf", Do.HANG))
    assert sender.failure(receiver.url(), timeout=0.4) is FailureKind.TIMEOUT


# Encodings


def bomb(wbits: int) -> bytes:
    """200 MB of zeros, deflated."""
    deflating = zlib.compressobj(1, wbits=wbits)
    megabyte = bytes(1_000_000)
    return b"".join(deflating.compress(megabyte) for _ in range(200)) + deflating.flush()


@pytest.mark.parametrize(
    ("encoding", "wbits", "status"),
    [("gzip", 16 + zlib.MAX_WBITS, 200), ("deflate", zlib.MAX_WBITS, 410), ("deflate", -zlib.MAX_WBITS, 500)],
)
def test_a_bomb_of_200_megabytes_is_cut_and_the_status_decides(
    sender: Sender, receiver: Receiver, encoding: str, wbits: int, status: int
) -> None:
    receiver.script("/", Answer(status, (("Content-Encoding", encoding),), bomb(wbits)))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body, reply.body_cut, reply.body_unreadable) == (status, bytes(BODY_CAP), True, False)


@pytest.mark.parametrize(
    ("encodings", "body"),
    [
        (("gzip", "deflate"), gzip.compress(b"text")),
        (("br",), b"text"),
        (("\xe9",), b"text"),
        (("gzip",), b"\x1f\x8b"),
        (("gzip",), b"\x1f\x8b" + b"\xff" * 100_000),
        (("compress",), b"text"),
    ],
    ids=["two headers", "brotli", "no name", "two bytes of gzip", "broken gzip above the cap", "compress"],
)
@pytest.mark.parametrize("status", [200, 410])
def test_an_encoding_that_cannot_be_read_does_not_change_the_verdict(
    sender: Sender, receiver: Receiver, status: int, encodings: tuple[str, ...], body: bytes
) -> None:
    receiver.script("/", Answer(status, tuple(("Content-Encoding", encoding) for encoding in encodings), body))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body, reply.body_unreadable) == (status, body[:BODY_CAP], True)


@pytest.mark.parametrize("answer", [Answer(204, (("Content-Encoding", "gzip"),)), Answer(200, (), b"")])
def test_no_body_cannot_be_unreadable(sender: Sender, receiver: Receiver, answer: Answer) -> None:
    receiver.script("/", answer)
    reply = sender.reply(receiver.url())
    assert (reply.body, reply.body_cut, reply.body_unreadable) == (b"", False, False)


def test_an_unknown_transfer_coding_is_marked_and_the_status_decides(sender: Sender, receiver: Receiver) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    receiver.script("/", (head + b"4\r\ntext\r\n0\r\n\r\n",))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body_unreadable) == (200, True)
