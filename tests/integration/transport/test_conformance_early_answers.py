"""Every transport bears receivers that answer, or hang up, before they have read a request."""

import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.transport.failure_texts import KEPT_CLOSED
from tests.behaviours import Answer, Do, Pause, Step, final, interim
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver

LARGE = bytes(32 * 1024 * 1024)  # more than any buffer between the two takes: without a reader, writing does not end


@pytest.mark.parametrize("before", [b"", interim(100), interim(103)], ids=["at once", "after 100", "after 103"])
@pytest.mark.parametrize("status", [302, 413, 500])
def test_a_refusal_counts_though_the_request_is_not_read(sender: Sender, before: bytes, status: int) -> None:
    with Receiver(on_connect=(before + final(status, b"too large"), Pause(20))) as receiver:
        exchange = sender.exchange(receiver.url(), body=LARGE, timeout=10.0)
    assert isinstance(exchange.outcome, Reply)
    assert (exchange.outcome.status, exchange.outcome.body) == (status, b"too large")
    assert exchange.duration.total_seconds() < 5


def test_an_early_101_is_final_at_once(sender: Sender) -> None:
    with Receiver(on_connect=(interim(101), Pause(20))) as receiver:
        exchange = sender.exchange(receiver.url(), body=LARGE, timeout=10.0)
    assert getattr(exchange.outcome, "status", None) == 101
    assert exchange.duration.total_seconds() < 5


def test_the_connection_of_a_refusal_is_not_used_again(sender: Sender) -> None:
    with Receiver(on_connect=(final(413), Pause(20))) as receiver:
        assert sender.reply(receiver.url(), body=LARGE).status == 413
        assert sender.reply(receiver.url(), timeout=1.0).status == 413
        assert receiver.connections == 2


def test_an_answer_before_the_request_was_read_counts_when_the_receiver_reads_on(sender: Sender) -> None:
    with Receiver(on_connect=(final(413, b"too large"), Do.HALF_CLOSE, Do.HANG)) as receiver:
        assert sender.reply(receiver.url(), body=LARGE).status == 413


def test_a_request_is_sent_whole_though_it_was_acknowledged_early(sender: Sender) -> None:
    with Receiver(on_connect=(final(200),)) as receiver:
        assert sender.reply(receiver.url(), body=LARGE[: 4 * 1024 * 1024]).status == 200
        assert len(receiver.wait_for(1)[0].body) == 4 * 1024 * 1024


def test_interim_answers_do_not_stop_a_request(sender: Sender) -> None:
    with Receiver(on_connect=(interim(100), interim(103))) as receiver:
        receiver.script("/", Answer(201))
        assert sender.reply(receiver.url(), body=LARGE).status == 201
        assert receiver.received[0].body == LARGE


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((Pause(0.2), Do.CLOSE), id="closed"),
        pytest.param((Pause(0.2), Do.RESET), id="reset"),
        pytest.param((Do.HALF_CLOSE, Do.HANG), id="half closed"),
        pytest.param((Do.HALF_CLOSE, Pause(20)), id="half closed and not reading"),
    ],
)
def test_a_receiver_that_goes_away_within_a_request_is_a_reset(sender: Sender, steps: tuple[Step, ...]) -> None:
    with Receiver(on_connect=steps) as receiver:
        assert sender.failure(receiver.url(), body=LARGE, timeout=5.0) is FailureKind.CONNECTION_RESET
        assert receiver.connections == 1


def test_a_refusal_lost_in_a_reset_is_never_taken_for_success(sender: Sender) -> None:
    with Receiver(on_connect=(final(413), Pause(0.1), Do.RESET)) as receiver:
        outcome = sender.exchange(receiver.url(), body=LARGE).outcome
    match outcome:  # which of the two arrives is the network's choice
        case Reply(status=status):
            assert status == 413
        case Failure(kind=kind):
            assert kind is FailureKind.CONNECTION_RESET


def test_a_large_request_for_which_an_idle_connection_had_ended_is_sent_whole(
    sender: Sender, receiver: Receiver
) -> None:
    for _ in range(5):
        assert sender.reply(receiver.url(), body=LARGE[: 1024 * 1024]).status == 200
        receiver.close_idle()
    assert [len(got.body) for got in receiver.received] == [1024 * 1024] * 5


def test_a_request_is_not_sent_again_when_its_kept_alive_connection_dies_while_it_is_sent(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(10)
        served = pool.submit(_answer_then_die, server)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert sender.reply(url).status == 200
        assert sender.exchange(url, body=LARGE).outcome == KEPT_CLOSED
        served.result(10)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def _answer_then_die(server: socket.socket) -> None:
    """Answers one request; resets the connection when it has read a little of the next."""
    first, _ = server.accept()
    with first:
        while b"\r\n\r\n[]" not in first.recv(65536):
            pass
        first.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        first.recv(1024)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_slow_reader_is_waited_for_within_the_deadline(sender: Sender) -> None:
    with Receiver(on_connect=(Pause(0.3),)) as receiver:
        assert sender.reply(receiver.url(), body=LARGE).status == 200
