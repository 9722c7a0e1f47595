"""Every transport reads answers alike: final and interim ones, and those that are none."""

import pytest

from dispatcher.transport.exchange import FailureKind
from tests.behaviours import (
    BARE_101,
    ENDLESS_HEADERS,
    GARBAGE,
    HANG,
    HTTP_0_9,
    HUGE_HEADERS,
    MANY_HEADERS,
    NO_ANSWER,
    RESET,
    SLOW_HEADERS,
    Answer,
    Do,
    Endless,
    Step,
    final,
    interim,
)
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver


def test_every_status_from_200_to_999_is_taken_as_it_is(sender: Sender, receiver: Receiver) -> None:
    statuses = list(range(200, 1000))
    assert [sender.reply(receiver.url(f"/status/{status}")).status for status in statuses] == statuses


@pytest.mark.parametrize("status", ["000", "042", "099", "1000", "20", "2xx", "-200", "+200", ""])
def test_an_impossible_status_is_a_broken_answer(sender: Sender, receiver: Receiver, status: str) -> None:
    receiver.script("/", (f"HTTP/1.1 {status} Odd\r\nContent-Length: 0\r\n\r\n".encode(), Do.CLOSE))
    assert sender.failure(receiver.url(), timeout=0.7) is FailureKind.BROKEN_ANSWER


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(GARBAGE, id="garbage"),
        pytest.param(HTTP_0_9, id="HTTP 0.9"),
        pytest.param((b"HTTP/0.9 200 OK\r\n\r\n", Do.CLOSE), id="HTTP 0.9 with a status line"),
        pytest.param((b"220 mail.example ESMTP\r\n", Do.CLOSE), id="another protocol"),
        pytest.param((b"HTTP/1.1 200 OK\r\nContent-Le", Do.CLOSE), id="closed in the headers"),
        pytest.param((b"HTTP/1.1 200 OK\r\nno header at all\r\n\r\n", Do.CLOSE), id="a line without colon"),
        pytest.param((b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", Do.CLOSE), id="NUL in a header"),
        pytest.param((b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", Do.CLOSE), id="a length that is no number"),
        pytest.param((b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Do.CLOSE), id="a negative length"),
    ],
)
def test_what_is_not_http_is_a_broken_answer(sender: Sender, receiver: Receiver, steps: tuple[Step, ...]) -> None:
    receiver.script("/", steps)
    assert sender.failure(receiver.url(), timeout=0.7) is FailureKind.BROKEN_ANSWER


def test_headers_come_in_order_with_repeated_and_unusual_ones(sender: Sender, receiver: Receiver) -> None:
    headers = (("X-B", "1"), ("Set-Cookie", "a=1"), ("x-a", "caf\xe9"), ("Set-Cookie", "b=2"), ("X-Empty", ""))
    receiver.script("/", Answer(200, headers))
    assert sender.reply(receiver.url()).headers == (*headers, ("Content-Length", "0"))


def test_cookies_are_not_sent_back(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", Answer(200, (("Set-Cookie", "a=1; Path=/"),)))
    sender.reply(receiver.url())
    sender.reply(receiver.url())
    assert [got.header("Cookie") for got in receiver.received] == [None, None]


@pytest.mark.parametrize("location", ["/target", "//127.0.0.1/", "{origin}/target", "file:///etc/passwd", ""])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(sender: Sender, receiver: Receiver, status: int, location: str) -> None:
    receiver.script("/", Answer(status, (("Location", location.format(origin=receiver.origin)),)))
    assert sender.reply(receiver.url()).status == status
    assert [got.target for got in receiver.received] == ["/"]


@pytest.mark.parametrize("last", [200, 204, 302, 400, 500, 999])
@pytest.mark.parametrize("before", [(100,), (102,), (103,), (199,), (100, 102, 103, 103, 150)])
def test_an_interim_answer_followed_by_another_is_the_other(
    sender: Sender, receiver: Receiver, before: tuple[int, ...], last: int
) -> None:
    receiver.script("/", (b"".join(map(interim, before)) + final(last),))
    assert sender.reply(receiver.url()).status == last


def test_an_interim_answer_followed_by_500_is_a_500(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (interim(103, ("Link", "</style.css>")), final(500, b"later")))
    reply = sender.reply(receiver.url())
    assert (reply.status, reply.body) == (500, b"later")
    assert reply.headers == (("Content-Length", "5"),)


def test_after_103_and_500_the_next_request_on_the_connection_gets_its_own_answer(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.script("/early", (interim(103) + final(500, b"first"),))
    receiver.script("/next", Answer(201, body=b"second"))
    assert sender.reply(receiver.url("/early")).body == b"first"
    assert sender.reply(receiver.url("/next")).body == b"second"
    assert [got.connection for got in receiver.received] == [1, 1]


@pytest.mark.parametrize("status", [100, 102, 103])
def test_interim_then_closed_is_a_broken_answer(sender: Sender, receiver: Receiver, status: int) -> None:
    receiver.script("/", (interim(status), Do.CLOSE))
    assert sender.failure(receiver.url(), timeout=0.7) is FailureKind.BROKEN_ANSWER


def test_interim_then_silence_is_a_timeout(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (interim(102), Do.HANG))
    assert sender.failure(receiver.url(), timeout=0.4) is FailureKind.TIMEOUT


@pytest.mark.parametrize("every", [0.0, 0.02])
def test_interim_answers_without_end_are_a_failure(sender: Sender, receiver: Receiver, every: float) -> None:
    receiver.script("/", (Endless(interim(102), every),))
    assert sender.failure(receiver.url(), timeout=0.5) in {
        FailureKind.BROKEN_ANSWER,
        FailureKind.HEADERS_TOO_LARGE,
        FailureKind.TIMEOUT,
    }


def test_a_bare_101_is_final_at_once_and_ends_the_connection(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", BARE_101)
    exchange = sender.exchange(receiver.url(), timeout=10.0)
    assert getattr(exchange.outcome, "status", None) == 101
    assert exchange.duration.total_seconds() < 5  # the connection stays open on the other side
    assert sender.reply(receiver.url("/next")).status == 200
    assert [got.connection for got in receiver.received] == [1, 2]


def test_101_after_an_interim_answer_is_final(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (interim(103) + interim(101) + final(500), Do.HANG))
    assert sender.reply(receiver.url()).status == 101


@pytest.mark.parametrize("behaviour", [HUGE_HEADERS, MANY_HEADERS, ENDLESS_HEADERS])
def test_too_many_or_too_large_headers_are_a_failure_of_their_own(
    sender: Sender, receiver: Receiver, behaviour: Answer | tuple[Step, ...]
) -> None:
    receiver.script("/", behaviour)
    assert sender.failure(receiver.url()) is FailureKind.HEADERS_TOO_LARGE


def test_large_headers_within_the_bound_are_read(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", Answer(200, tuple((f"X-{n}", "f" * 500) for n in range(90))))
    assert len(sender.reply(receiver.url()).headers) == 91


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        pytest.param(NO_ANSWER, FailureKind.CONNECTION_RESET, id="closed"),
        pytest.param(RESET, FailureKind.CONNECTION_RESET, id="reset"),
        pytest.param(HANG, FailureKind.TIMEOUT, id="hangs"),
        pytest.param(SLOW_HEADERS, FailureKind.TIMEOUT, id="headers in a drip"),
        pytest.param((Do.HALF_CLOSE, Do.HANG), FailureKind.CONNECTION_RESET, id="half closed"),
    ],
)
def test_no_complete_head_is_a_failure_by_its_kind(
    sender: Sender, receiver: Receiver, behaviour: tuple[Step, ...], kind: FailureKind
) -> None:
    receiver.script("/", behaviour)
    exchange = sender.exchange(receiver.url(), timeout=0.5)
    assert getattr(exchange.outcome, "kind", None) is kind
    assert exchange.duration.total_seconds() < 5
    assert len(receiver.received) == 1  # a first use of a connection is never repeated
