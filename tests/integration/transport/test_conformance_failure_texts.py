"""Every transport tells a fault in the same words: customers see them, and not which transport met it."""

import errno
from ipaddress import ip_network

import pytest

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.exchange import Failure, FailureKind
from dispatcher.transport.failure_texts import (
    BAD_LENGTH,
    BODY_NOT_ENDED,
    CLOSED_WITHOUT_ANSWER,
    HEAD_NOT_ENDED,
    HEAD_TOO_LARGE,
    INTERIM_ONLY,
    LOST,
    LOST_IN_HANDSHAKE,
    NO_ANSWER_IN_TIME,
    NO_HEADER,
    NO_TLS_IN_TIME,
    NOT_HTTP,
    NOT_IN_TIME,
    not_connected,
)
from dispatcher.transport.port import HEAD_LINES, INTERIM_ANSWERS
from tests.behaviours import HANG, NO_ANSWER, Do, Pause, Step, interim
from tests.dead_ports import UnansweringPort, refusing_port
from tests.integration.transport.conftest import NewTransport, Sender
from tests.receiver import Receiver

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        pytest.param(HANG, NO_ANSWER_IN_TIME, id="it hangs"),
        pytest.param(NO_ANSWER, CLOSED_WITHOUT_ANSWER, id="closed"),
        pytest.param((Pause(0.1), Do.RESET), CLOSED_WITHOUT_ANSWER, id="reset"),
        pytest.param((b"H", Do.CLOSE), CLOSED_WITHOUT_ANSWER, id="closed after a character"),
        pytest.param((b"HTTP/1.1 20", Do.CLOSE), CLOSED_WITHOUT_ANSWER, id="closed in the status line"),
        pytest.param((b"gar", Do.CLOSE), NOT_HTTP, id="closed in a line of no HTTP"),
        pytest.param((OK, Pause(0.1), Do.RESET), LOST, id="reset in the head"),
        pytest.param((OK, Do.CLOSE), HEAD_NOT_ENDED, id="closed in the head"),
        pytest.param((interim(103), Do.CLOSE), HEAD_NOT_ENDED, id="closed after an interim answer"),
        pytest.param((interim(103) * (INTERIM_ANSWERS + 1), Do.HANG), INTERIM_ONLY, id="interim answers"),
        pytest.param((b"garbage\r\n\r\n", Do.CLOSE), NOT_HTTP, id="no HTTP"),
        pytest.param((b"HTTP/1.1 099 OK\r\n\r\n", Do.CLOSE), NOT_HTTP, id="a status below 100"),
        pytest.param((OK + b"none\r\n\r\n", Do.CLOSE), NO_HEADER, id="no colon"),
        pytest.param((OK + b": no name\r\n\r\n", Do.CLOSE), NO_HEADER, id="no name"),
        pytest.param((OK + b"X: 1\r\n" * HEAD_LINES + b"\r\n", Do.HANG), HEAD_TOO_LARGE, id="too many lines"),
        pytest.param((OK + b"X: " + b"x" * 200_000, Do.HANG), HEAD_TOO_LARGE, id="a line without end"),
        pytest.param((OK + b"Content-Length: +5\r\n\r\nabcde", Do.CLOSE), BAD_LENGTH, id="a length with a sign"),
        pytest.param(
            (OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", Do.CLOSE), BAD_LENGTH, id="two lengths"
        ),
        pytest.param((OK + b"Content-Length: 9\r\n\r\nshort", Do.CLOSE), BODY_NOT_ENDED, id="half a body"),
        pytest.param((CHUNKED + b"zz\r\n", Do.CLOSE), BODY_NOT_ENDED, id="a bad chunk size"),
        pytest.param((CHUNKED + b"3\r\nabcd\r\n", Do.CLOSE), BODY_NOT_ENDED, id="a chunk too long"),
        pytest.param((CHUNKED + b"3\r\nabc\r\n", Do.CLOSE), BODY_NOT_ENDED, id="no last chunk"),
    ],
)
def test_a_fault_of_an_answer_has_one_text(
    sender: Sender, receiver: Receiver, steps: tuple[Step, ...], told: Failure
) -> None:
    receiver.script("/", steps)
    assert sender.exchange(receiver.url(), timeout=1.0).outcome == told


def test_a_refused_connection_has_one_text(sender: Sender) -> None:
    assert sender.exchange(f"http://127.0.0.1:{refusing_port()}/").outcome == not_connected(errno.ECONNREFUSED)


def test_no_way_to_an_address_has_one_text(new_transport: NewTransport) -> None:
    broadcast = AddressPolicy(networks=(ip_network("255.255.255.255/32"),), ports=frozenset({80}))
    outcome = Sender(new_transport(addresses=broadcast)).exchange("http://255.255.255.255/").outcome
    assert outcome == Failure(FailureKind.UNREACHABLE, "not reachable (ENETUNREACH)")


def test_time_up_says_whether_it_was_the_connection_or_the_handshake(trusting: Sender) -> None:
    with UnansweringPort() as dead:
        outcome = trusting.exchange(f"https://127.0.0.1:{dead.port}/", connect_timeout=0.3).outcome
        assert outcome == NOT_IN_TIME
    with Receiver(on_connect=HANG) as receiver:
        outcome = trusting.exchange(f"https://127.0.0.1:{receiver.port}/", connect_timeout=0.3).outcome
        assert outcome == NO_TLS_IN_TIME


def test_a_handshake_that_is_reset_has_one_text(trusting: Sender) -> None:
    with Receiver(on_connect=(Pause(0.1), Do.RESET)) as receiver:
        assert trusting.exchange(f"https://127.0.0.1:{receiver.port}/").outcome == LOST_IN_HANDSHAKE
