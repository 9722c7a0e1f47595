"""Every transport reads bodies alike: the status decides, and no body costs more than the cap."""

import gzip
import zlib

import pytest

from dispatcher.transport.exchange import FailureKind, Reply
from dispatcher.transport.port import BODY_CAP
from tests.behaviours import (
    ENDLESS_BODY,
    RESET_IN_BODY,
    SHORT_BODY,
    SLOW_BODY,
    Answer,
    Do,
    Endless,
    Pause,
    Step,
    chunked,
    gzipped,
)
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver

TEXT = b'{"error":"no such number"}'


def bare_deflate(data: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(data) + deflating.flush()


def encoded(encoding: str, body: bytes, status: int = 200) -> Answer:
    return Answer(status, (("Content-Encoding", encoding),), body)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Answer(200, body=TEXT), id="with a length"),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\n" + TEXT, Do.CLOSE), id="until closed"),
        pytest.param((b"HTTP/1.0 200 OK\r\n\r\n" + TEXT, Do.CLOSE), id="HTTP 1.0"),
        pytest.param(chunked(b"5\r\n" + TEXT[:5] + b"\r\n15\r\n" + TEXT[5:] + b"\r\n0\r\n\r\n"), id="chunked"),
        pytest.param(chunked(b"01A;name=value\r\n" + TEXT + b"\r\n0\r\n\r\n"), id="chunked with an extension"),
        pytest.param(chunked(b"1a\r\n" + TEXT + b"\r\n0\r\nX-Sum: 1\r\n\r\n"), id="chunked with a trailer"),
        pytest.param(encoded("identity", TEXT), id="identity"),
        pytest.param(gzipped(TEXT), id="gzip"),
        pytest.param(encoded("GZip", gzip.compress(TEXT)), id="gzip in capitals"),
        pytest.param(encoded("deflate", zlib.compress(TEXT)), id="deflate"),
        pytest.param(encoded("deflate", bare_deflate(TEXT)), id="bare deflate"),
    ],
)
def test_a_body_is_read_however_it_is_framed_and_encoded(
    sender: Sender, receiver: Receiver, behaviour: Answer | tuple[Step, ...]
) -> None:
    receiver.script("/", behaviour)
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body, reply.body_cut, reply.body_unreadable) == (200, TEXT, False, False)
    assert sender.reply(receiver.url("/next")).status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_body_ends_with_its_head(sender: Sender, receiver: Receiver, status: int) -> None:
    receiver.script("/", Answer(status, (("Content-Length", "1000"),)))
    reply = sender.reply(receiver.url(), timeout=1.0)
    assert (reply.status, reply.body) == (status, b"")


@pytest.mark.parametrize("size", [0, 1, BODY_CAP - 1, BODY_CAP])
def test_a_body_up_to_the_cap_is_kept_whole(sender: Sender, receiver: Receiver, size: int) -> None:
    receiver.script("/", Answer(200, body=b"b" * size))
    assert sender.reply(receiver.url()) == Reply(200, (("Content-Length", str(size)),), b"b" * size)
    assert sender.reply(receiver.url()).body == b"b" * size
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [200, 410, 500])
@pytest.mark.parametrize("size", [BODY_CAP + 1, 300_000])
def test_a_larger_body_is_cut_and_the_status_decides(
    sender: Sender, receiver: Receiver, size: int, status: int
) -> None:
    receiver.script("/", Answer(status, body=b"b" * size))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body, reply.body_cut) == (status, b"b" * BODY_CAP, True)
    assert sender.reply(receiver.url("/next")).status == 200


def test_nobody_reads_the_rest_of_a_body_that_was_cut(sender: Sender, receiver: Receiver) -> None:
    # What comes before the pause is read to the last byte: the connection looks idle, but is not.
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
    receiver.script("/", (head + b"b" * (BODY_CAP + 1), Pause(0.5), b"b" * (300_000 - BODY_CAP - 1)))
    assert sender.reply(receiver.url()).body_cut
    assert sender.reply(receiver.url("/next")).status == 200
    assert [got.connection for got in receiver.received] == [1, 2]


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(ENDLESS_BODY, id="until closed"),
        pytest.param(chunked(b"", Endless(b"4000\r\n" + b"e" * 0x4000 + b"\r\n")), id="in chunks"),
        pytest.param(chunked(b"fffffffffffffff\r\n", Endless(b"e" * 0x4000)), id="in one chunk"),
    ],
)
def test_a_body_without_end_is_cut_and_the_status_decides(
    sender: Sender, receiver: Receiver, behaviour: tuple[Step, ...]
) -> None:
    receiver.script("/", behaviour)
    reply = sender.reply(receiver.url())
    assert (reply.status, len(reply.body), reply.body_cut) == (200, BODY_CAP, True)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        pytest.param(SLOW_BODY, FailureKind.TIMEOUT, id="in a drip"),
        pytest.param(chunked(b"5\r\nhello\r\n", Do.HANG), FailureKind.TIMEOUT, id="hangs between chunks"),
        pytest.param(SHORT_BODY, FailureKind.BROKEN_ANSWER, id="short of its length"),
        pytest.param(RESET_IN_BODY, FailureKind.CONNECTION_RESET, id="reset"),
        pytest.param(chunked(b"5\r\nhel", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="closed in a chunk"),
        pytest.param(chunked(b"5\r\nhello\r\n", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="closed between chunks"),
        pytest.param(chunked(b"zz\r\nhello\r\n", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="a bad chunk size"),
        pytest.param(chunked(b"-1\r\nhello\r\n", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="a negative chunk size"),
        pytest.param(
            chunked(b"f" * 17 + b"\r\nhello\r\n", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="a chunk size without bound"
        ),
    ],
)
def test_a_body_that_does_not_end_as_announced_is_a_failure(
    sender: Sender, receiver: Receiver, behaviour: tuple[Step, ...], kind: FailureKind
) -> None:
    receiver.script("/", behaviour)
    assert sender.failure(receiver.url(), timeout=0.5) is kind
    assert sender.reply(receiver.url("/next")).status == 200


def test_a_trailer_without_end_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", chunked(b"0\r\n", Endless(b"X-T: 1\r\n" * 1000)))
    assert sender.failure(receiver.url()) is FailureKind.ANSWER_TOO_LARGE


def test_a_compressed_bomb_is_cut(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", gzipped(bytes(50_000_000)))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body, reply.body_cut) == (200, bytes(BODY_CAP), True)
    assert not reply.body_unreadable


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(encoded("gzip", TEXT, 201), id="not gzip"),
        pytest.param(encoded("gzip", gzip.compress(TEXT)[:-9], 201), id="gzip cut short"),
        pytest.param(encoded("deflate", TEXT, 201), id="not deflate"),
        pytest.param(encoded("zstd", TEXT, 201), id="zstd"),
        pytest.param(encoded("no-such-encoding", TEXT, 201), id="unknown"),
        pytest.param(encoded("gzip, gzip", TEXT, 201), id="encoded twice"),
    ],
)
def test_a_badly_encoded_body_is_marked_and_the_status_decides(
    sender: Sender, receiver: Receiver, answer: Answer
) -> None:
    receiver.script("/", answer)
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body, reply.body_unreadable) == (201, answer.body, True)
