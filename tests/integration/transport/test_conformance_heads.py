"""Every transport reads the head of an answer alike, in pieces, in odd forms and at the bounds."""

import pytest

from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.failure_texts import HEAD_TOO_LARGE, STRAY_BYTE
from dispatcher.transport.port import HEAD_LINES, INTERIM_ANSWERS
from tests.behaviours import Do, Drip, Pause, Step, final, interim
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        pytest.param(b"HTTP/1.1 201\r\nContent-Length: 0\r\n\r\n", (("Content-Length", "0"),), id="no reason"),
        pytest.param(b"HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n", (("Content-Length", "0"),), id="an empty reason"),
        pytest.param(
            b"HTTP/1.1 201 caf\xe9 404 not\r\nContent-Length: 0\r\n\r\n", (("Content-Length", "0"),), id="an odd reason"
        ),
        pytest.param(b"HTTP/1.1 201 OK\nContent-Length: 0\n\n", (("Content-Length", "0"),), id="bare line feeds"),
        pytest.param(
            b"HTTP/1.1 201 OK\r\nX-Long: one\r\n two\r\n\tthree\r\nContent-Length: 0\r\n\r\n",
            (("X-Long", "one two three"), ("Content-Length", "0")),
            id="folded over lines",
        ),
        pytest.param(
            b"HTTP/1.1 201 OK\r\nX-A:1\r\nX-B: \t 2 \t \r\nContent-Length:0\r\n\r\n",
            (("X-A", "1"), ("X-B", "2"), ("Content-Length", "0")),
            id="blanks around values",
        ),
        pytest.param(
            b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            (("Content-Length", "0"), ("Content-Length", "0")),
            id="the same length twice",
        ),
    ],
)
def test_an_unusual_head_is_read_and_the_connection_stays(
    sender: Sender, receiver: Receiver, head: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    receiver.script("/", (head,))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.headers, reply.body) == (201, headers, b"")
    assert sender.reply(receiver.url("/next")).status == 200
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/2 200 OK\r\n\r\n", id="HTTP 2"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="HTTP 2.0"),
        pytest.param(b"HTTP/1.1200 OK\r\n\r\n", id="no blank before the status"),
        pytest.param(b"HTTP/1.1 0200 OK\r\n\r\n", id="a status of four digits"),
        pytest.param(b"HTTP/1.1 200\0OK\r\n\r\n", id="NUL in the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\0Y: 1\r\n\r\n", id="NUL in a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n", id="no name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\nabcde", id="two lengths in one header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde", id="a length with a sign"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nabcde", id="a length in hex"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\nabcde", id="a length with a blank"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 25 + b"\r\n\r\nabcde", id="a length above all"),
    ],
)
def test_a_broken_head_is_a_broken_answer(sender: Sender, receiver: Receiver, head: bytes) -> None:
    receiver.script("/", (head, Do.CLOSE))
    assert sender.failure(receiver.url(), timeout=0.7) is FailureKind.BROKEN_ANSWER
    assert sender.reply(receiver.url("/next")).status == 200


@pytest.mark.parametrize("stray", [b"\0", b"\r"], ids=["NUL", "a lone CR"])
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 O%sK\r\nContent-Length: 0\r\n\r\n", id="in the status line"),
        pytest.param(b"HTTP/1.1 200 OK%s\r\nContent-Length: 0\r\n\r\n", id="at the end of the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX%sY: 1\r\nContent-Length: 0\r\n\r\n", id="in a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: 1%s2\r\nContent-Length: 0\r\n\r\n", id="in a value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: 1%s\r\nContent-Length: 0\r\n\r\n", id="at the end of a value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: 1\r\n 2%s3\r\nContent-Length: 0\r\n\r\n", id="in a folded line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%s\r\n\r\n", id="before the blank line"),
        pytest.param(
            b"HTTP/1.1 103 Early\r\nX: 1%s2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            id="in an interim answer",
        ),
    ],
)
def test_a_nul_or_a_lone_cr_in_a_head_is_refused(sender: Sender, receiver: Receiver, head: bytes, stray: bytes) -> None:
    receiver.script("/", (head % stray, Do.HANG))
    assert sender.exchange(receiver.url(), timeout=0.7).outcome == STRAY_BYTE


def test_the_bound_on_lines_counts_the_status_line(sender: Sender, receiver: Receiver) -> None:
    lines = b"X: 1\r\n" * (HEAD_LINES - 2) + b"Content-Length: 0\r\n"
    receiver.script(
        "/", (b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n",), (b"HTTP/1.1 200 OK\r\nX: 1\r\n" + lines + b"\r\n",)
    )
    assert len(sender.reply(receiver.url()).headers) == HEAD_LINES - 1
    assert sender.exchange(receiver.url()).outcome == HEAD_TOO_LARGE


def test_one_header_over_the_bound_is_a_failure_of_its_own(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (b"HTTP/1.1 200 OK\r\nX-Big: " + b"b" * 66_000 + b"\r\nContent-Length: 0\r\n\r\n",))
    assert sender.failure(receiver.url(), timeout=1.0) is FailureKind.HEADERS_TOO_LARGE


def test_one_header_within_the_bound_is_read(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (b"HTTP/1.1 200 OK\r\nX-Big: " + b"b" * 64_000 + b"\r\nContent-Length: 0\r\n\r\n",))
    assert sender.reply(receiver.url()).headers[0] == ("X-Big", "b" * 64_000)


def test_a_status_line_without_end_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (b"HTTP/1.1 200 " + b"O" * 200_000, Do.HANG))
    assert sender.failure(receiver.url(), timeout=1.0) in {FailureKind.BROKEN_ANSWER, FailureKind.HEADERS_TOO_LARGE}


def test_as_many_interim_answers_as_allowed_are_read_over(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (interim(103, ("Link", "</a>")) * INTERIM_ANSWERS + final(500, b"late"),))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.headers, reply.body) == (500, (("Content-Length", "4"),), b"late")


def test_more_interim_answers_than_allowed_are_a_broken_answer(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (interim(103) * (INTERIM_ANSWERS + 1) + final(200),))
    assert sender.failure(receiver.url(), timeout=1.0) is FailureKind.BROKEN_ANSWER


def test_what_an_interim_answer_says_of_framing_means_nothing(sender: Sender, receiver: Receiver) -> None:
    early = interim(103, ("Content-Length", "500"), ("Transfer-Encoding", "chunked"), ("Connection", "close"))
    receiver.script("/", (early + final(202, b"body"),))
    reply = sender.reply(receiver.url(), timeout=1.0)
    assert (reply.status, reply.body) == (202, b"body")


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        pytest.param((interim(103) + b"HTTP/1.1 2", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="half a status line"),
        pytest.param((interim(103) + b"garbage\r\n\r\n", Do.CLOSE), FailureKind.BROKEN_ANSWER, id="garbage"),
        pytest.param((interim(103), Do.HALF_CLOSE, Do.HANG), FailureKind.BROKEN_ANSWER, id="half closed"),
        pytest.param((interim(103), Pause(0.1), Do.RESET), FailureKind.CONNECTION_RESET, id="reset"),
    ],
)
def test_an_interim_answer_followed_by_none_is_a_failure(
    sender: Sender, receiver: Receiver, steps: tuple[Step, ...], kind: FailureKind
) -> None:
    receiver.script("/", steps)
    assert sender.failure(receiver.url(), timeout=0.7) is kind


def test_an_answer_in_a_drip_is_read_whole_within_the_deadline(sender: Sender, receiver: Receiver) -> None:
    chunks = b"HTTP/1.1 500 Odd\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    receiver.script("/", (Drip(interim(103, ("Link", "</a>")) + chunks, every=0.001),))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body) == (500, b"ok")
    assert sender.reply(receiver.url("/next")).status == 200
    assert receiver.connections == 1


def test_interim_answers_do_not_stretch_the_deadline(sender: Sender, receiver: Receiver) -> None:
    early = tuple(step for _ in range(20) for step in (interim(102), Pause(0.1)))
    receiver.script("/", (*early, final(200)))
    exchange = sender.exchange(receiver.url(), timeout=0.5)
    assert getattr(exchange.outcome, "kind", None) is FailureKind.TIMEOUT
    assert 0.48 <= exchange.duration.total_seconds() < 1.5
