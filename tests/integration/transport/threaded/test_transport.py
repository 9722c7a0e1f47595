"""What only the transport on `requests` has: sender threads, its pool of connections, its way to connect."""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.checks import Origin
from dispatcher.transport.exchange import Exchange, Failure, FailureKind
from dispatcher.transport.failure_texts import TOO_LATE
from dispatcher.transport.threaded.connections import Connection
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.allowed import LOOPBACK
from tests.behaviours import Answer, Do, Endless, Pause, Step, final, interim
from tests.certificates import Authority
from tests.dead_ports import UnansweringPort, refusing_port
from tests.integration.transport.conftest import Sender, request_to
from tests.receiver import Receiver
from tests.tls_in_one_piece import answering_in_one_piece


@pytest.fixture
def new() -> Iterator[Callable[..., RequestsTransport]]:
    made: list[RequestsTransport] = []

    def make(**options: Any) -> RequestsTransport:
        made.append(RequestsTransport(**{"addresses": LOOPBACK, **options}))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def at(*ports: int) -> Callable[..., Any]:
    """A resolver that finds these ports on loopback for every name."""
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


def senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("sender-")]


def test_threads_start_as_they_are_needed_and_end_with_the_transport(
    new: Callable[..., RequestsTransport], receiver: Receiver
) -> None:
    transport = new(capacity=50)
    assert senders() == []
    for _ in range(20):
        Sender(transport).reply(receiver.url())
    assert len(senders()) == 1
    gate = receiver.gate()
    receiver.script("/held", (gate, *Answer(200).steps()))
    for _ in range(7):
        transport.send(request_to(receiver.url("/held")))
    receiver.wait_for(7, path="/held")
    assert len(senders()) == 7
    gate.open()
    transport.close()
    assert senders() == []


def test_the_next_address_is_tried_when_one_is_refused(
    new: Callable[..., RequestsTransport], receiver: Receiver
) -> None:
    sender = Sender(new(resolve=at(refusing_port(), receiver.port)))
    assert sender.reply("http://two.example/").status == 200
    assert receiver.received[0].header("Host") == "two.example"


def test_a_dead_first_address_leaves_time_for_the_next(
    new: Callable[..., RequestsTransport], receiver: Receiver
) -> None:
    with UnansweringPort() as dead:
        sender = Sender(new(resolve=at(dead.port, receiver.port)))
        assert sender.reply("http://two.example/", connect_timeout=1.0).status == 200


def test_a_name_without_address_is_a_dns_failure(new: Callable[..., RequestsTransport]) -> None:
    assert Sender(new(resolve=at())).failure("http://none.example/") is FailureKind.DNS


def test_a_look_up_that_hangs_is_a_dns_failure_within_the_deadline(new: Callable[..., RequestsTransport]) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(10)

    sender = Sender(new(resolve=hang))
    began = monotonic()
    assert sender.failure("http://slow.example/", connect_timeout=0.2) is FailureKind.DNS
    assert monotonic() - began < 5
    released.set()


@pytest.mark.parametrize("is_kept", [False, True])
def test_what_the_process_stood_still_with_for_longer_than_its_time_is_not_sent(
    new: Callable[..., RequestsTransport], receiver: Receiver, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    begin = Connection.begin

    def stand_still(connection: Connection, deadline: float) -> None:
        begin(connection, deadline)
        sleep(max(deadline - monotonic(), 0))

    sender = Sender(new())
    if is_kept:
        sender.reply(receiver.url("/before"))
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "begin", stand_still)
        assert sender.exchange(receiver.url("/late"), timeout=0.3).outcome is TOO_LATE
    assert sender.reply(receiver.url("/after")).status == 200
    assert "/late" not in {received.path for received in receiver.received}


def test_what_waited_for_a_thread_for_longer_than_the_time_to_connect_is_not_sent(
    new: Callable[..., RequestsTransport], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = receiver.gate()
    receiver.script("/held", (gate, *Answer(200).steps()))
    transport = new()
    transport.send(request_to(receiver.url("/held")))
    receiver.wait_for(1, path="/held")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        transport.send(request_to(receiver.url("/late"), connect_timeout=0.2))
    sleep(0.3)
    gate.open()
    ended = [*transport.wait(5), *transport.wait(5)]
    assert ended[-1].outcome is TOO_LATE
    assert [received.path for received in receiver.received] == ["/held"]


def test_of_a_body_nothing_is_written_after_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours, None, Origin("http", "localhost", 80), "127.0.0.1")
        connection.begin(monotonic())
        with pytest.raises(TimeoutError):
            connection.write(b"late", lambda _: False)
        assert connection.sent == 0


def test_idle_connections_are_bounded_and_the_oldest_are_closed_first(
    new: Callable[..., RequestsTransport],
) -> None:
    sender = Sender(new(idle_limit=2))
    with Receiver() as one, Receiver() as two, Receiver() as three:
        for receiver in (one, two, three, three, two, one):
            assert sender.reply(receiver.url()).status == 200
        assert [receiver.connections for receiver in (one, two, three)] == [2, 1, 1]


@pytest.mark.parametrize(
    ("death", "kind"),
    [
        ((b"H", Do.CLOSE), FailureKind.CONNECTION_RESET),
        ((b"H", Pause(0.1), Do.RESET), FailureKind.CONNECTION_RESET),
    ],
)
def test_a_request_is_not_sent_again_once_a_byte_of_an_answer_came(
    new: Callable[..., RequestsTransport], receiver: Receiver, death: tuple[Step, ...], kind: FailureKind
) -> None:
    sender = Sender(new())
    receiver.script("/", Answer(200), death)
    assert sender.reply(receiver.url()).status == 200
    assert sender.failure(receiver.url()) is kind
    assert [got.connection for got in receiver.received] == [1, 1]


def test_a_request_of_which_nothing_was_written_goes_out_on_another_connection(
    new: Callable[..., RequestsTransport], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset comes after the look: that is a race, so the look is made to see nothing."""
    sender = Sender(new())
    assert sender.reply(receiver.url()).status == 200
    receiver.close_idle(Do.RESET)
    monkeypatch.setattr(Connection, "is_quiet", lambda _: True)
    assert sender.reply(receiver.url()).status == 200
    assert [got.connection for got in receiver.received] == [1, 2]


def test_a_connection_idle_for_too_long_is_not_used_again(
    new: Callable[..., RequestsTransport], receiver: Receiver
) -> None:
    sender = Sender(new(idle_age=0.05))
    sender.reply(receiver.url())
    sleep(0.1)  # the age itself is what is tested
    sender.reply(receiver.url())
    assert [got.connection for got in receiver.received] == [1, 2]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_connection_whose_tls_ended_with_its_answer_is_not_used_again(
    new: Callable[..., RequestsTransport], authority: Authority, version: ssl.TLSVersion
) -> None:
    tls = authority.server("127.0.0.1")
    tls.maximum_version = version
    sender = Sender(new(ca_bundle=authority.bundle))
    with answering_in_one_piece(tls, final(200)) as url:
        assert [sender.reply(url).status for _ in range(2)] == [200, 200]


def test_interim_answers_without_end_stop_a_request_that_is_not_read(new: Callable[..., RequestsTransport]) -> None:
    with Receiver(on_connect=(Endless(interim(102)),)) as receiver:
        exchange = Sender(new()).exchange(receiver.url(), body=bytes(32 * 1024 * 1024), timeout=10.0)
    assert getattr(exchange.outcome, "kind", None) is FailureKind.BROKEN_ANSWER
    assert exchange.duration.total_seconds() < 5


def test_an_acknowledgement_counts_though_the_receiver_then_hangs_up(new: Callable[..., RequestsTransport]) -> None:
    with Receiver(on_connect=(final(200, b"enough"), Pause(0.2), Do.RESET)) as receiver:
        assert Sender(new()).reply(receiver.url(), body=bytes(32 * 1024 * 1024)).body == b"enough"


def test_a_surprise_in_a_sender_comes_back_as_a_failure_and_shows_no_secret(
    new: Callable[..., RequestsTransport],
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def surprising(*_: Any) -> str | None:
        raise KeyError("secret")

    monkeypatch.setattr(AddressPolicy, "refused_address", surprising)
    sender = Sender(new())
    with caplog.at_level(logging.ERROR):
        outcome = sender.exchange(receiver.url()).outcome
    assert outcome == Failure(FailureKind.BROKEN_ANSWER, "unexpected KeyError")
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text


def no_more_threads_than(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has reached its limit."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("sender-") and len(senders()) >= count:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_where_no_more_threads_can_be_started_the_others_send_all(
    new: Callable[..., RequestsTransport], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_more_threads_than(2, monkeypatch)
    transport = new()
    for _ in range(6):
        transport.send(request_to(receiver.url()))
    ended: list[Exchange] = []
    while len(ended) < 6:
        ended += transport.wait(10) or pytest.fail(f"{len(ended)} of 6 came back")
    assert {getattr(exchange.outcome, "status", None) for exchange in ended} == {200}
    assert len(senders()) == 2


def test_without_any_thread_a_request_comes_back_unsent_and_the_next_one_goes_out_once_there_is_one(
    new: Callable[..., RequestsTransport], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(new(capacity=1))
    with monkeypatch.context() as limited:
        no_more_threads_than(0, limited)
        for _ in range(2):  # with one slot: it is free again
            assert sender.failure(receiver.url()) is FailureKind.NOT_SENT
    assert sender.reply(receiver.url()).status == 200
    assert len(receiver.received) == 1
