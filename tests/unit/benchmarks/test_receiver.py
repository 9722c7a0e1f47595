"""The benchmark's own receiver, as a real process."""

import http.client
import select
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.certificate import self_signed
from benchmarks.receiver import MOST_TIMED
from benchmarks.receivers import Nginx, Receiver, Tls, instant_receiver, own_receiver
from benchmarks.workload import message, numbered_message
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Reply, Request
from tests.allowed import LOOPBACK

SIZE = 600


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with own_receiver(tmp_path, SIZE) as running:
        yield running


def post(receiver: Receiver, path: str, body: bytes = b"", *, timeout: float = 5) -> int:
    """The status of the answer."""
    connection = http.client.HTTPConnection(urlsplit(receiver.url()).netloc, timeout=timeout)
    try:
        connection.request("POST", f"/{path}", body)
        with connection.getresponse() as answer:
            return answer.status
    finally:
        connection.close()


def test_messages_have_the_size_that_the_receiver_counts_by() -> None:
    assert len(message(SIZE)) == SIZE


@pytest.mark.parametrize(("body", "messages"), [(message(SIZE), 1), (b"[" + message(SIZE) + b"]", 1)])
def test_a_single_message_is_one_with_and_without_an_array(receiver: Receiver, body: bytes, messages: int) -> None:
    assert post(receiver, "ok", body) == 204
    assert (receiver.counts("ok").requests, receiver.counts("ok").messages) == (1, messages)


@pytest.mark.parametrize("number", [2, 7, 100, 1_700])
def test_the_messages_of_an_array_are_counted(receiver: Receiver, number: int) -> None:
    assert post(receiver, "ok", b"[" + b",".join([message(SIZE)] * number) + b"]") == 204
    assert (receiver.counts("ok").requests, receiver.counts("ok").messages) == (1, number)


def test_a_request_that_comes_in_pieces_is_answered_when_it_is_complete(receiver: Receiver) -> None:
    address = urlsplit(receiver.url())
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:  # type: ignore[arg-type]
        for piece in (b"POST /ok HTTP/1.1\r\nContent-", b"Length: 4\r\n", b"\r\nab"):
            connection.sendall(piece)
            assert post(receiver, "sleep?ms=1") == 204  # it has been read meanwhile
            assert receiver.counts("ok").requests == 0
        connection.sendall(b"cd")
        assert connection.recv(100).startswith(b"HTTP/1.1 204")
    assert receiver.counts("ok").requests == 1


def test_sleeping_holds_nobody_else_up(receiver: Receiver) -> None:
    address = urlsplit(receiver.url())
    with socket.create_connection((address.hostname, address.port), timeout=5) as sleeper:  # type: ignore[arg-type]
        sleeper.sendall(b"POST /sleep?ms=60000 HTTP/1.1\r\n\r\n")
        while not receiver.counts("sleep").requests:
            time.sleep(0.001)
        assert post(receiver, "ok") == 204
        assert select.select([sleeper], [], [], 0)[0] == []


def test_it_sleeps_as_long_as_it_is_told(receiver: Receiver) -> None:
    began = time.monotonic()
    assert post(receiver, "sleep?ms=300") == 204
    assert time.monotonic() - began >= 0.3


def test_hanging_reads_and_never_answers(receiver: Receiver) -> None:
    with pytest.raises(TimeoutError):
        post(receiver, "hang", timeout=0.2)
    assert receiver.counts("hang").requests == 1


def test_the_switch_refuses_until_it_is_on(receiver: Receiver) -> None:
    assert post(receiver, "switch") == 503
    receiver.turn(on=True)
    assert post(receiver, "switch") == 204
    assert receiver.counts("switch").requests == 2


def test_arrivals_are_on_the_clock_of_whoever_asks_until_they_are_forgotten(receiver: Receiver) -> None:
    before = time.monotonic()
    post(receiver, "ok")
    post(receiver, "ok")
    counts = receiver.counts("ok")
    assert before <= counts.first_at < counts.last_at <= time.monotonic()
    receiver.turn(on=True)
    receiver.forget()
    assert receiver.counts("ok").requests == receiver.counts("ok").first_at == 0
    assert post(receiver, "switch") == 503
    assert receiver.requests() == 0


def test_the_first_arrival_of_each_number_is_noted_until_it_is_forgotten(receiver: Receiver) -> None:
    before = time.monotonic()
    for number in (2, 0):
        assert post(receiver, "timed", b"[" + numbered_message(number) + b"]") == 204
    first = receiver.arrivals(4)
    assert before <= first[2] < first[0] <= time.monotonic()
    assert first[1] == first[3] == 0
    post(receiver, "timed", numbered_message(2))
    post(receiver, "timed", message(SIZE))  # its id is no number of ours
    assert receiver.arrivals(4) == first
    assert receiver.counts("timed").requests == 4
    receiver.forget()
    assert receiver.arrivals(4) == [0] * 4


def test_a_numbered_message_is_as_long_as_any_and_has_no_number_that_the_receiver_cannot_note() -> None:
    assert len(numbered_message(0)) == len(numbered_message(MOST_TIMED - 1)) == SIZE
    with pytest.raises(ValueError, match=str(MOST_TIMED)):
        numbered_message(MOST_TIMED)


@pytest.mark.parametrize("protocol", ["plain", "http/1.1", "h2"])
def test_receivers_on_many_ports_count_requests_messages_and_connections_together(
    tmp_path: Path, protocol: str
) -> None:
    pem = self_signed(tmp_path / "receiver.pem")
    tls = None if protocol == "plain" else Tls(pem, protocol)
    with (
        own_receiver(tmp_path, SIZE, listeners=2, tls=tls) as many,
        closing(CurlTransport(addresses=LOOPBACK, ca_bundle=pem)) as transport,
    ):
        assert len(set(many.urls())) == 2
        for body in (message(SIZE), b"[" + b",".join([message(SIZE)] * 100) + b"]"):
            for url in many.urls():
                transport.send(Request("1", "POST", url, (), body, connect_timeout=5, timeout=5))
                (exchange,) = transport.wait(5)
                assert isinstance(exchange.outcome, Reply), exchange.outcome
                assert exchange.outcome.status == 204
        assert (many.counts("ok").requests, many.counts("ok").messages) == (4, 202)
        assert many.opened() == (2, 0)


def test_connections_that_resume_a_session_are_counted(tmp_path: Path) -> None:
    pem = self_signed(tmp_path / "receiver.pem")
    client = ssl.create_default_context(cafile=pem)
    session = None
    with own_receiver(tmp_path, SIZE, tls=Tls(pem, "http/1.1")) as behind_tls:
        address = urlsplit(behind_tls.url())
        for seen in ((1, 0), (2, 1)):
            plain = socket.create_connection((address.hostname, address.port), timeout=5)  # type: ignore[arg-type]
            with client.wrap_socket(plain, server_hostname=address.hostname, session=session) as connection:
                connection.sendall(b"POST /ok HTTP/1.1\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 204")
                session = connection.session
            assert behind_tls.opened() == seen


def test_without_nginx_the_plain_receiver_is_our_own(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with instant_receiver(tmp_path, receiver) as instant:
        assert instant is receiver


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_counts_requests_but_not_those_that_ask_for_the_count(receiver: Receiver, tmp_path: Path) -> None:
    with instant_receiver(tmp_path, receiver) as instant:
        assert isinstance(instant, Nginx)
        before = instant.requests()
        address = urlsplit(instant.url())
        connection = http.client.HTTPConnection(address.netloc, timeout=5)
        for _ in range(3):
            connection.request("POST", address.path, message(SIZE))
            with connection.getresponse() as answer:
                assert answer.status == 204
        connection.close()
        assert [instant.requests() - before for _ in range(3)] == [3, 3, 3]
