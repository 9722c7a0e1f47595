"""Bytes of answers that curl does not tell of: the kernel counts them, and a receiver that sends too many is cut."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep
from typing import Any

import pytest

from dispatcher.transport.curl.connections import KeptConnections
from dispatcher.transport.curl.raw_bytes import Look, RawBytes, consumed
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Exchange, Reply
from dispatcher.transport.failure_texts import OVER_BUDGET
from dispatcher.transport.port import ANSWER_CAP, BODY_CAP, HASTY_READS, REST_SECONDS
from tests.allowed import LOOPBACK
from tests.behaviours import Answer, Drip, Endless, chunked
from tests.certificates import Authority
from tests.http2_receiver import DATA, Http2Receiver, frame
from tests.integration.transport.conftest import Sender, request_to
from tests.receiver import Receiver

WINDOW_UPDATE, PADDED = 8, 8
_MOST_AT_ONCE = 256 * 1024  # bytes that curl takes before anybody looks: about what the kernel keeps


class Reads:
    """What the transport was told of its connections."""

    def __init__(self) -> None:
        self.all: list[Look | None] = []

    @property
    def looks(self) -> list[Look]:
        return [look for look in self.all if look is not None]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    counted, read = Reads(), RawBytes.read

    def noted(raw: RawBytes, descriptor: int, *, leaves_some: bool) -> Look | None:
        counted.all.append(read(raw, descriptor, leaves_some=leaves_some))
        return counted.all[-1]

    monkeypatch.setattr(RawBytes, "read", noted)
    return counted


@pytest.fixture
def transport(authority: Authority) -> Iterator[CurlTransport]:
    made = CurlTransport(addresses=LOOPBACK, ca_bundle=authority.bundle)
    yield made
    made.close()


def all_of(transport: CurlTransport, count: int) -> list[Exchange]:
    ended: list[Exchange] = []
    while len(ended) < count:
        some = transport.wait(15)
        assert some, f"{len(ended)} of {count} came back"
        ended += some
    return ended


@pytest.mark.parametrize(
    ("flood", "begins"),
    [
        pytest.param(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5_000, False, id="windows"),
        pytest.param(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5_000, True, id="windows in a body"),
        pytest.param(frame(DATA, PADDED, 1, b"\xff" + bytes(255)) * 250, True, id="padding"),
        pytest.param(frame(0x42, 0, 0, bytes(1_000)) * 60, True, id="frames of an unknown kind"),
    ],
)
def test_frames_of_http_2_without_end_are_cut_after_some_reads(
    transport: CurlTransport, authority: Authority, reads: Reads, flood: bytes, *, begins: bool
) -> None:
    with Http2Receiver(authority.server("localhost"), flood=flood, begins=begins) as receiver:
        outcome = Sender(transport).exchange(f"https://localhost:{receiver.port}/", timeout=60.0).outcome
    assert outcome == OVER_BUDGET
    assert max(look.came for look in reads.looks) < ANSWER_CAP + _MOST_AT_ONCE
    assert len(reads.all) < 2_000


def test_five_that_send_without_end_are_read_a_few_times_and_never_again(
    transport: CurlTransport, receiver: Receiver, reads: Reads
) -> None:
    receiver.script("/flood", chunked(b"5;", Endless(b"e" * 65_536)))
    for _ in range(5):
        transport.send(request_to(receiver.url("/flood"), timeout=60.0))
    assert {exchange.outcome for exchange in all_of(transport, 5)} == {OVER_BUDGET}
    # A read may bring little, as the receiver is slow; all together bring what is allowed, and one read more.
    assert max(look.came for look in reads.looks) < ANSWER_CAP + _MOST_AT_ONCE
    reads.all.clear()
    assert Sender(transport).reply(receiver.url()).status == 200
    assert len(reads.all) <= 3


@pytest.fixture
def cut_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes had been read from each connection in all when it was cut."""
    sizes, cut = [], KeptConnections.cut

    def noted(kept: KeptConnections, descriptor: int) -> None:
        sizes.append(consumed(descriptor)[1])
        cut(kept, descriptor)

    monkeypatch.setattr(KeptConnections, "cut", noted)
    return sizes


@contextmanager
def flooding() -> Iterator[str]:
    """The URL of a receiver over HTTP/1 that sends a chunk's extension without end, as fast as it can."""

    def flood(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
            while True:
                connection.sendall(b"e" * 1_000_000)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=flood, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def beside_others(transport: CurlTransport, url: str, other: str) -> object:
    """The outcome of a request beside others, 50 at any time."""
    request, outcome, others = request_to(url, timeout=10.0), None, 0
    transport.send(request)
    while others or outcome is None:
        while others < 50 and outcome is None:
            transport.send(request_to(other))
            others += 1
        for exchange in transport.wait(15):
            if exchange.request is request:
                outcome = exchange.outcome
            else:
                others -= 1
    return outcome


@pytest.mark.parametrize("version", ["HTTP/1", "HTTP/2"])
def test_no_more_is_read_of_one_that_sends_without_end_while_many_others_are_served(
    transport: CurlTransport, authority: Authority, receiver: Receiver, cut_at: list[int], version: str
) -> None:
    flood = frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 50_000
    with Http2Receiver(authority.server("localhost"), flood=flood) as http2, flooding() as http1:
        hostile = http1 if version == "HTTP/1" else f"https://localhost:{http2.port}/"
        for _ in range(3):
            assert beside_others(transport, hostile, receiver.url()) == OVER_BUDGET
    assert len(cut_at) == 3
    assert max(cut_at) < ANSWER_CAP + _MOST_AT_ONCE


def test_answers_that_were_awaited_on_one_connection_end_with_it_and_others_do_not(
    transport: CurlTransport, authority: Authority
) -> None:
    flood = frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5_000
    with (
        Http2Receiver(authority.server("localhost"), answers=False) as other,
        Http2Receiver(authority.server("localhost"), flood=flood) as receiver,
    ):
        hostile, patient = f"https://localhost:{receiver.port}/", f"https://localhost:{other.port}/"
        transport.send(request_to(patient, timeout=2.0))
        for _ in range(3):
            transport.send(request_to(hostile, timeout=60.0))
        ended = all_of(transport, 4)
    assert [exchange.outcome for exchange in ended if exchange.request.url == hostile] == [OVER_BUDGET] * 3
    assert {getattr(exchange.outcome, "kind", None) for exchange in ended if exchange.request.url == patient} == {
        "timeout"
    }


def test_an_answer_in_a_drip_is_read_every_few_milliseconds_only(
    transport: CurlTransport, receiver: Receiver, reads: Reads
) -> None:
    receiver.script("/", (Drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 100_000, every=0.0005),))
    sender = Sender(transport)
    assert sender.failure(receiver.url(), timeout=1.5) == "timeout"
    assert len(reads.all) <= HASTY_READS + 1.5 / REST_SECONDS + 5


def test_a_connection_that_rests_is_read_on_and_kept(transport: CurlTransport, receiver: Receiver) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + b"b" * 300
    receiver.script("/", (Drip(answer, every=0.001),))
    sender = Sender(transport)
    for _ in range(2):
        assert sender.reply(receiver.url()).body == b"b" * 300
    assert sender.reply(receiver.url("/next")).status == 200
    assert receiver.connections == 1


def test_ordinary_answers_are_not_looked_at(transport: CurlTransport, receiver: Receiver, reads: Reads) -> None:
    receiver.script("/", Answer(200, body=b"taken"))
    for _ in range(200):
        transport.send(request_to(receiver.url()))
    assert {getattr(exchange.outcome, "status", None) for exchange in all_of(transport, 200)} == {200}
    for _ in range(50):
        Sender(transport).reply(receiver.url())
    assert reads.looks == []


def test_answers_over_one_connection_of_http_2_are_counted_each_by_itself(
    transport: CurlTransport, authority: Authority, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.transport.ANSWER_CAP", 2_000)
    with Http2Receiver(authority.server("localhost")) as receiver:
        sender = Sender(transport)
        url = f"https://localhost:{receiver.port}/"
        assert sender.reply(url).status == 200
        for _ in range(5):
            for _ in range(100):
                transport.send(request_to(url))
            assert {getattr(exchange.outcome, "status", None) for exchange in all_of(transport, 100)} == {200}
        assert receiver.connections == 1


def test_an_idle_connection_of_http_2_on_which_something_comes_again_and_again_is_closed(
    transport: CurlTransport, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [], KeptConnections.look

    def noted(*given: Any, **more: Any) -> None:
        looks.append(given)
        look(*given, **more)

    def trickle(connection: ssl.SSLSocket, _stream: int) -> None:
        with suppress(OSError), socket.socket(fileno=connection.detach()) as plain:
            for byte in b"\x17\x03\x03\x40\x00" + bytes(100):  # the beginning of one record of TLS
                plain.send(bytes([byte]))
                sleep(0.002)

    monkeypatch.setattr(KeptConnections, "look", noted)
    with Http2Receiver(authority.server("localhost"), ending=trickle, pings=False) as receiver:
        sender = Sender(transport)
        url = f"https://localhost:{receiver.port}/"
        assert sender.reply(url).status == 200
        trickling = threading.Thread(target=receiver.end)
        trickling.start()
        while trickling.is_alive():
            assert transport.wait(0.01) == []
        assert 1 <= len(looks) <= 12
        assert sender.reply(url).status == 200
        assert receiver.connections == 2


@pytest.mark.parametrize(("at_once", "size"), [(1, 3_000_000), (2, 500_000)])
def test_of_large_bodies_over_http_2_the_beginning_is_read_and_no_other_answer_is_cut_for_the_rest(
    transport: CurlTransport, authority: Authority, at_once: int, size: int
) -> None:
    with Http2Receiver(authority.server("localhost"), large=size, pings=False) as receiver:
        url = f"https://localhost:{receiver.port}/"
        for _ in range(12 // at_once):
            assert Sender(transport).reply(url).status == 200
            for _ in range(at_once):
                transport.send(request_to(url))
            for exchange in all_of(transport, at_once):
                assert isinstance(exchange.outcome, Reply), exchange.outcome
                assert (exchange.outcome.status, len(exchange.outcome.body)) == (200, BODY_CAP)


def test_a_connection_on_which_little_of_a_body_is_left_is_kept(transport: CurlTransport, authority: Authority) -> None:
    with Http2Receiver(authority.server("localhost"), large=100_000, pings=False) as receiver:
        for _ in range(5):
            assert Sender(transport).reply(f"https://localhost:{receiver.port}/").status == 200
        assert receiver.connections == 1
