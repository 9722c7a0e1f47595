"""What only the transport on curl has: its event loop, HTTP/2, its DNS lookups beside it, its bounds on connections."""

import gc
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any
from unittest.mock import patch

import pycurl
import pytest

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.checks import split_url
from dispatcher.transport.curl import transfers as curl_transfers
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply
from dispatcher.transport.failure_texts import HTTP2_LOST, KEPT_CLOSED, TOO_LATE
from tests.allowed import LOOPBACK
from tests.behaviours import HANG, Answer, final, interim
from tests.certificates import Authority
from tests.http2_receiver import Http2Receiver, cut, end_tls, go_away, go_away_and_close, reset
from tests.integration.transport.conftest import Sender, request_to
from tests.receiver import Receiver

New = Callable[..., CurlTransport]


@pytest.fixture
def new() -> Iterator[New]:
    made: list[CurlTransport] = []

    def make(**options: Any) -> CurlTransport:
        made.append(CurlTransport(**{"addresses": LOOPBACK, **options}))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[pycurl.Curl]:
    """The easy handles that are made."""
    made: list[pycurl.Curl] = []
    plain = curl_transfers.new_handle

    def counted(*arguments: Any) -> pycurl.Curl:
        made.append(plain(*arguments))
        return made[-1]

    monkeypatch.setattr(curl_transfers, "new_handle", counted)
    return made


def all_of(transport: CurlTransport, count: int) -> list[Exchange]:
    ended: list[Exchange] = []
    while len(ended) < count:
        some = transport.wait(15)
        assert some, f"{len(ended)} of {count} came back"
        ended += some
    return ended


def kind(exchange: Exchange) -> FailureKind | None:
    return getattr(exchange.outcome, "kind", None)


# Deadlines


@pytest.mark.parametrize("timeout", [0.05, 0.25])
def test_a_deadline_is_held_although_it_is_looked_at_only_now_and_then(
    new: New, receiver: Receiver, timeout: float
) -> None:
    receiver.script("/", HANG)
    sender = Sender(new())
    sender.reply(receiver.url("/before"))
    durations = [sender.exchange(receiver.url(), timeout=timeout).duration.total_seconds() for _ in range(5)]
    assert min(durations) >= timeout
    assert min(durations) < timeout + 0.25  # twenty looks a second


@pytest.fixture
def standing_still(new: New, receiver: Receiver) -> Callable[[Callable[[], None]], list[Exchange]]:
    """Five requests of 0.6 s are received at `/`; then something happens while the owner of the transport stands still
    for longer. What comes of them."""

    def stand_still(happening: Callable[[], None]) -> list[Exchange]:
        transport = new()
        for _ in range(5):
            transport.send(request_to(receiver.url(), timeout=0.6))
        while len(receiver.received) < 5:
            assert transport.wait(0.01) == []
        happening()
        sleep(0.9)  # longer than the receiver may take
        return all_of(transport, 5)

    return stand_still


def test_answers_that_came_while_the_owner_stood_still_are_answers(
    receiver: Receiver, standing_still: Callable[[Callable[[], None]], list[Exchange]]
) -> None:
    gate = receiver.gate()
    receiver.script("/", (gate, final(200)))
    assert {getattr(exchange.outcome, "status", None) for exchange in standing_still(gate.open)} == {200}


def test_a_receiver_that_hangs_still_times_out_after_the_owner_stood_still(
    receiver: Receiver, standing_still: Callable[[Callable[[], None]], list[Exchange]]
) -> None:
    receiver.script("/", HANG)
    began = monotonic()
    assert {kind(exchange) for exchange in standing_still(lambda: None)} == {FailureKind.TIMEOUT}
    assert 0.9 + 0.5 < monotonic() - began < 5  # its own time is left to it


def test_time_in_which_the_owner_stood_still_is_not_the_receivers(new: New, receiver: Receiver) -> None:
    transport = new()
    Sender(transport).reply(receiver.url("/before"))
    receiver.script("/", Answer(200, delay=0.5))
    transport.send(request_to(receiver.url(), timeout=1.0))
    sleep(0.7)  # nothing is on the wire: that takes a wait
    (exchange,) = transport.wait(10)
    assert getattr(exchange.outcome, "status", None) == 200


@pytest.mark.parametrize("is_kept", [False, True])
def test_what_the_owner_stood_still_with_for_longer_than_its_time_is_not_sent(
    new: New, receiver: Receiver, is_kept: bool
) -> None:
    transport = new()
    sender = Sender(transport)
    if is_kept:
        sender.reply(receiver.url("/before"))
    for _ in range(5):
        transport.send(request_to(receiver.url("/late"), timeout=0.3))
    sleep(0.4)  # others may have delivered it: a claim is no longer than its request can take
    assert {exchange.outcome for exchange in all_of(transport, 5)} == {TOO_LATE}
    assert sender.reply(receiver.url("/after"), timeout=0.3).status == 200
    assert "/late" not in {received.path for received in receiver.received}


def test_an_owner_that_stands_still_again_and_again_does_not_put_a_deadline_off_for_ever(
    new: New, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.transport._MOST_ADDED", 0.5)
    receiver.script("/", HANG)
    transport = new()
    transport.send(request_to(receiver.url(), timeout=1.0))
    waits = 1
    while not (ended := transport.wait(0.05)):
        sleep(0.2)
        waits += 1
    assert kind(ended[0]) is FailureKind.TIMEOUT
    assert waits < 12  # 20, if only waits counted


def steps_of_a_wait(transport: CurlTransport) -> int:
    """In half a second, in which nothing ends."""
    with patch.object(transport, "_step", wraps=transport._step) as step:
        assert transport.wait(0.5) == []
    return step.call_count


def test_waiting_costs_no_cpu(new: New, receiver: Receiver) -> None:
    receiver.script("/", HANG)
    transport = new()
    for _ in range(50):
        transport.send(request_to(receiver.url(), timeout=30.0))
    while len(receiver.received) < 50:
        assert transport.wait(0.05) == []
    assert steps_of_a_wait(transport) < 20


def test_an_idle_connection_that_is_closed_costs_no_cpu(new: New, receiver: Receiver) -> None:
    transport = new()
    Sender(transport).reply(receiver.url())
    receiver.close_idle()
    assert steps_of_a_wait(transport) < 20


def test_a_wait_ends_with_the_first_answer(new: New, receiver: Receiver) -> None:
    receiver.script("/slow", HANG)
    transport = new()
    transport.send(request_to(receiver.url("/slow"), timeout=30.0))
    transport.send(request_to(receiver.url()))
    began = monotonic()
    assert [exchange.request.url for exchange in transport.wait(10)] == [receiver.url()]
    assert monotonic() - began < 5


@pytest.mark.parametrize(("count", "failure"), [(50, None), (51, FailureKind.BROKEN_ANSWER)])
def test_interim_answers_are_bounded(new: New, receiver: Receiver, count: int, failure: FailureKind | None) -> None:
    receiver.script("/", (interim(103) * count + final(200),))
    assert kind(Sender(new()).exchange(receiver.url())) is failure


# HTTP/2


def test_http_2_is_spoken_where_tls_negotiates_it(new: New, authority: Authority) -> None:
    with Http2Receiver(authority.server("localhost")) as receiver:
        sender = Sender(new(ca_bundle=authority.bundle))
        for _ in range(3):
            assert sender.reply(f"https://localhost:{receiver.port}/hook", body=b'{"a":1}') == Reply(200, (), b"taken")
        assert (receiver.connections, receiver.streams, receiver.bodies) == (1, 3, [b'{"a":1}'] * 3)


def test_many_requests_share_a_connection_of_http_2(new: New, authority: Authority) -> None:
    with Http2Receiver(authority.server("localhost")) as receiver:
        transport = new(ca_bundle=authority.bundle)
        url = f"https://localhost:{receiver.port}/"
        Sender(transport).reply(url)
        for _ in range(40):
            transport.send(request_to(url))
        assert {getattr(exchange.outcome, "status", None) for exchange in all_of(transport, 40)} == {200}
        assert (receiver.connections, receiver.streams) == (1, 41)


def test_an_answer_that_does_not_come_over_http_2_is_a_timeout(new: New, authority: Authority) -> None:
    with Http2Receiver(authority.server("localhost"), answers=False) as receiver:
        sender = Sender(new(ca_bundle=authority.bundle))
        url = f"https://localhost:{receiver.port}/"
        assert [sender.failure(url, timeout=0.3) for _ in range(2)] == [FailureKind.TIMEOUT] * 2
        assert receiver.streams == 2


@pytest.mark.parametrize("begins", [False, True], ids=["without an answer", "in an answer"])
@pytest.mark.parametrize(
    "breaking",
    [
        pytest.param(b"\0\0\1\0\0\0\0\0\0x", id="a body of no stream"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", id="HTTP 1"),
    ],
)
def test_a_session_of_http_2_that_is_lost_is_reported_as_that(
    new: New, authority: Authority, breaking: bytes, begins: bool
) -> None:
    with Http2Receiver(authority.server("localhost"), breaking=breaking, begins=begins) as receiver:
        outcome = Sender(new(ca_bundle=authority.bundle)).exchange(f"https://localhost:{receiver.port}/").outcome
        assert outcome == HTTP2_LOST
        assert receiver.streams == 1


@pytest.mark.parametrize("pings", [True, False], ids=["after a ping", "no ping"])
@pytest.mark.parametrize("ending", [go_away_and_close, end_tls, cut, reset])
def test_a_connection_of_http_2_ended_by_the_receiver_while_idle_costs_nothing(
    new: New, authority: Authority, ending: Callable[[ssl.SSLSocket, int], None], pings: bool
) -> None:
    with Http2Receiver(authority.server("localhost"), ending=ending, pings=pings) as receiver:
        sender = Sender(new(ca_bundle=authority.bundle))
        for _ in range(3):
            assert sender.reply(f"https://localhost:{receiver.port}/").status == 200
            receiver.end()
        assert (receiver.connections, receiver.streams) == (3, 3)


@pytest.mark.parametrize("pings", [True, False], ids=["after a ping", "no ping"])
def test_a_session_of_http_2_that_takes_no_more_is_seen_while_it_stays_open(
    new: New, authority: Authority, pings: bool
) -> None:
    with Http2Receiver(authority.server("localhost"), ending=go_away, pings=pings) as receiver:
        sender = Sender(new(ca_bundle=authority.bundle))
        for _ in range(2):
            assert sender.reply(f"https://localhost:{receiver.port}/").status == 200
            receiver.end()
            sleep(1.1)  # curl does not look more often than each second
        assert (receiver.connections, receiver.streams) == (2, 2)


@pytest.mark.parametrize("ending", [go_away_and_close, end_tls, cut, reset])
def test_a_request_over_http_2_is_not_sent_again_when_its_connection_ends_without_an_answer(
    new: New, authority: Authority, ending: Callable[[ssl.SSLSocket, int], None]
) -> None:
    with Http2Receiver(authority.server("localhost"), ending=ending, ending_at=2) as receiver:
        sender = Sender(new(ca_bundle=authority.bundle))
        url = f"https://localhost:{receiver.port}/"
        assert sender.reply(url, body=b"1").status == 200
        assert sender.exchange(url, body=b"2").outcome == KEPT_CLOSED
        assert (receiver.connections, receiver.bodies) == (1, [b"1", b"2"])
        assert sender.reply(url, body=b"3").status == 200


def test_http_1_is_spoken_where_tls_does_not_offer_more(new: New, authority: Authority) -> None:
    with Receiver(tls=authority.server("localhost")) as receiver:
        assert Sender(new(ca_bundle=authority.bundle)).reply(f"https://localhost:{receiver.port}/").status == 200
        assert receiver.received[0].head.startswith(b"POST / HTTP/1.1\r\n")


# Nothing from the environment, nothing but HTTP


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/", "telnet://127.0.0.1:1/", "dict://x/"])
def test_curl_itself_refuses_all_but_http(new: New, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.transport.check_request", lambda request: None)
    for module in ("curl.transport", "curl.transfers", "guard"):
        monkeypatch.setattr(f"dispatcher.transport.{module}.split_url", lambda _: split_url("http://127.0.0.1/"))
    outcome = Sender(new()).exchange(url).outcome
    assert outcome == Failure(FailureKind.BROKEN_ANSWER, "not a valid HTTP answer (curl error 1)")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_tls_below_1_2_is_refused(new: New, authority: Authority, version: str) -> None:
    server = authority.server("127.0.0.1")
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        server.minimum_version = server.maximum_version = getattr(ssl.TLSVersion, version)
    with Receiver(tls=server) as receiver:
        assert Sender(new(ca_bundle=authority.bundle)).failure(receiver.url()) is FailureKind.TLS


# Connections and handles


def test_nothing_waits_inside_curl_for_a_connection(new: New, receiver: Receiver) -> None:
    gate = receiver.gate()
    receiver.script("/held", (gate, *Answer(200).steps()))
    transport = new(capacity=300)
    for _ in range(300):
        transport.send(request_to(receiver.url("/held"), timeout=30.0))
    while len(receiver.received) < 300:  # one host, all at once
        assert transport.wait(0.05) == []
    gate.open()
    assert {getattr(exchange.outcome, "status", None) for exchange in all_of(transport, 300)} == {200}


def test_idle_connections_are_bounded_and_the_oldest_are_closed_first(new: New) -> None:
    sender = Sender(new(idle_limit=2))
    with Receiver() as one, Receiver() as two, Receiver() as three:
        for receiver in (one, two, three, three, two, one):
            assert sender.reply(receiver.url()).status == 200
        assert [receiver.connections for receiver in (one, two, three)] == [2, 1, 1]


def test_a_busy_transport_keeps_its_connections_above_the_limit_for_idle_ones(new: New) -> None:
    with Receiver() as hanging, Receiver() as quick:
        hanging.script("/", HANG)
        transport = new(idle_limit=4)
        for _ in range(20):
            transport.send(request_to(hanging.url(), timeout=30.0))
        while len(hanging.received) < 20:
            assert transport.wait(0.05) == []
        sender = Sender(transport)
        assert [sender.reply(quick.url()).status for _ in range(10)] == [200] * 10
        assert quick.connections == 1


def test_a_connection_idle_for_too_long_is_not_used_again(new: New, receiver: Receiver) -> None:
    sender = Sender(new(idle_age=1))
    sender.reply(receiver.url())
    threading.Event().wait(2.1)  # the age itself is what is tested; curl counts whole seconds
    sender.reply(receiver.url())
    assert [got.connection for got in receiver.received] == [1, 2]


def test_handles_are_used_again(new: New, receiver: Receiver, handles: list[pycurl.Curl]) -> None:
    transport = new()
    for _ in range(3):
        for _ in range(5):
            transport.send(request_to(receiver.url()))
        all_of(transport, 5)
    assert len(handles) == 5


def test_shrinking_frees_idle_handles_and_keeps_connections_and_what_is_in_flight(
    new: New, receiver: Receiver, handles: list[pycurl.Curl]
) -> None:
    transport, gate = new(), receiver.gate()
    receiver.script("/slow", (gate, final(200)))
    for path in ("/slow", "/", "/", "/"):
        transport.send(request_to(receiver.url(path)))
    all_of(transport, 3)
    connections = receiver.connections
    transport.shrink()
    freed = 0
    for handle in handles:
        try:
            handle.getinfo(pycurl.RESPONSE_CODE)
        except pycurl.error:
            freed += 1
    assert freed == 3
    gate.open()
    (slow,) = all_of(transport, 1)
    assert isinstance(slow.outcome, Reply)
    for _ in range(3):
        transport.send(request_to(receiver.url("/")))
    all_of(transport, 3)
    assert receiver.connections == connections == 4


def test_an_idle_handle_holds_on_to_no_large_body(new: New, receiver: Receiver) -> None:
    let_go: list[int] = []

    class Body(bytes):
        def __del__(self) -> None:
            let_go.append(len(self))

    sender = Sender(new())
    sender.reply(receiver.url(), body=Body(100_000))
    gc.collect()
    assert let_go == [100_000]


def test_one_method_after_another_on_a_connection_keeps_to_its_own_form(new: New, receiver: Receiver) -> None:
    sender = Sender(new())
    for method, body in [
        ("POST", b"1"),
        ("GET", None),
        ("PUT", b"22"),
        ("DELETE", None),
        ("POST", None),
        ("GET", b"4"),
    ]:
        assert sender.reply(receiver.url(), method, body=body).status == 200
    assert [(got.method, got.header("Content-Length"), got.body) for got in receiver.received] == [
        ("POST", "1", b"1"),
        ("GET", None, b""),
        ("PUT", "2", b"22"),
        ("DELETE", None, b""),
        ("POST", "0", b""),
        ("GET", "1", b"4"),
    ]
    assert receiver.connections == 1


def test_bytes_on_an_idle_connection_of_tls_do_not_end_it(new: New, authority: Authority) -> None:
    with Http2Receiver(authority.server("localhost")) as receiver:  # it sends a PING after every answer
        transport = new(ca_bundle=authority.bundle)
        for _ in range(3):
            Sender(transport).reply(f"https://localhost:{receiver.port}/")
            transport.wait(0.05)
        assert receiver.connections == 1


# DNS lookups


def addresses(*texts: str) -> Callable[..., Any]:
    """A resolver that finds these for every name."""

    def resolve(_host: str, port: int, **_: Any) -> Any:
        return [entry for text in texts for entry in socket.getaddrinfo(text, port, type=socket.SOCK_STREAM)]

    return resolve


def test_a_name_is_looked_up_once_for_many_requests(new: New, receiver: Receiver) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return addresses("127.0.0.1")(host, port)

    transport = new(resolve=resolve)
    for _ in range(2):
        for _ in range(30):
            transport.send(request_to(f"http://busy.example:{receiver.port}/"))
        assert {kind(exchange) for exchange in all_of(transport, 30)} == {None}
    assert asked == ["busy.example"]


@pytest.mark.parametrize("host", ["UPPER.example", "under_score.example", "name.localhost"])
def test_curl_never_looks_a_name_up_itself(new: New, receiver: Receiver, host: str) -> None:
    sender = Sender(new(resolve=addresses("127.0.0.1")))
    assert sender.reply(f"http://{host}:{receiver.port}/").status == 200


def test_a_handle_gets_the_address_again_for_curl_forgets_it(
    new: New, monkeypatch: pytest.MonkeyPatch, handles: list[pycurl.Curl]
) -> None:
    plain = curl_transfers.new_handle

    def forgetful(*arguments: Any) -> pycurl.Curl:
        handle = plain(*arguments)
        handle.setopt(pycurl.DNS_CACHE_TIMEOUT, 1)  # instead of a minute; curl counts whole seconds
        return handle

    monkeypatch.setattr(curl_transfers, "new_handle", forgetful)
    with Receiver(requests_per_connection=1) as receiver:
        asked: list[str] = []

        def resolve(host: str, port: int, **_: Any) -> Any:
            asked.append(host)
            return addresses("127.0.0.1")(host, port)

        sender = Sender(new(resolve=resolve))
        for pause in (0, 2.1):
            sleep(pause)
            assert sender.reply(f"http://receiver.example:{receiver.port}/").status == 200
        assert (len(asked), len(handles), receiver.connections) == (1, 1, 2)


def test_a_name_that_moved_is_followed_by_the_handle_that_knew_it(
    new: New, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, handles: list[pycurl.Curl]
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.dns_cache.KEPT_SECONDS", 0.0)
    with Receiver(host="127.0.0.2") as other:
        places = ["127.0.0.1", "127.0.0.2"]
        ports = {"127.0.0.1": receiver.port, "127.0.0.2": other.port}
        sender = Sender(new(resolve=lambda host, port, **_: addresses(places.pop(0))(host, port)))
        assert sender.reply(f"http://moves.example:{ports['127.0.0.1']}/").status == 200
        assert sender.reply(f"http://moves.example:{ports['127.0.0.2']}/").status == 200
        assert sender.reply(receiver.url()).status == 200  # an address after a name
    assert len(handles) == 1


# Surprises


@pytest.mark.parametrize("where", ["_end_head", "_reply"])
def test_a_surprise_comes_back_as_a_failure_and_shows_no_secret(
    new: New,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    where: str,
) -> None:
    def surprising(*_: object) -> None:
        raise KeyError("secret")

    receiver.script("/", Answer(200, body=b"body"))
    transport = new()
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr(curl_transfers.Transfer, where, surprising)
        assert Sender(transport).exchange(receiver.url()).outcome == Failure(
            FailureKind.BROKEN_ANSWER, "unexpected KeyError"
        )
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text + "".join(capfd.readouterr())
    assert Sender(new()).reply(receiver.url()).status == 200


def test_a_surprising_guard_refuses(
    new: New, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprising(*_: Any) -> str | None:
        raise KeyError("secret")

    monkeypatch.setattr(AddressPolicy, "refused_address", surprising)
    with caplog.at_level(logging.ERROR):
        outcome = Sender(new()).exchange(receiver.url()).outcome
    assert outcome == Failure(FailureKind.BROKEN_ANSWER, "unexpected KeyError")
    assert receiver.connections == 0


def test_a_request_that_curl_does_not_take_comes_back(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.transfers.header_lines", lambda _: [object()])
    assert Sender(new()).failure("http://127.0.0.1:9/") is FailureKind.BROKEN_ANSWER


def test_everything_in_flight_comes_back_when_curl_itself_fails(new: New, receiver: Receiver) -> None:
    receiver.script("/", HANG)
    transport = new()
    for _ in range(5):
        transport.send(request_to(receiver.url(), timeout=30.0))
    while len(receiver.received) < 5:
        assert transport.wait(0.05) == []

    class Broken:
        def info_read(self) -> None:
            raise pycurl.error(pycurl.E_MULTI_INTERNAL_ERROR, "secret")

        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

    plain = transport._multi
    transport._multi = Broken()
    transport.send(request_to(receiver.url("/one-more")))
    assert {exchange.outcome for exchange in all_of(transport, 6)} == {
        Failure(FailureKind.BROKEN_ANSWER, "unexpected error")
    }
    assert Sender(transport).reply(receiver.url("/next")).status == 200


def test_closing_in_the_middle_leaves_nothing_open(new: New, receiver: Receiver) -> None:
    receiver.script("/held", HANG)
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait(10)
        raise OSError

    transport = new(resolve=hang)
    for number in range(5):
        transport.send(request_to(receiver.url("/held"), timeout=30.0))
        transport.send(request_to(f"http://hanging-{number}.example/", timeout=30.0))
    while len(receiver.received) < 5:
        assert transport.wait(0.05) == []
    began = monotonic()
    transport.close()
    released.set()  # the DNS lookups tell a transport that is closed
    assert transport.wait(0) == []
    assert monotonic() - began < 5
    gc.collect()  # a descriptor left open would be a ResourceWarning, which fails the test
