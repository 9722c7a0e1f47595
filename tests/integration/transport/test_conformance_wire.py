"""Every transport puts exactly these bytes on the wire, and gives every request back exactly once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from dispatcher.transport.exchange import Exchange, Reply
from dispatcher.transport.port import Transport
from dispatcher.version import USER_AGENT
from tests.behaviours import GARBAGE, NO_ANSWER, RESET, Answer
from tests.dead_ports import refusing_port
from tests.integration.transport.conftest import NewTransport, Sender, request_to
from tests.receiver import Receiver

HEADERS = (
    ("Content-Type", "application/json"),
    ("User-Agent", USER_AGENT),
    ("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
    ("X-Empty", ""),
    ("X-Latin", "caf\xe9"),
)
LINES = "".join(f"{name}: {value}".rstrip() + "\r\n" for name, value in HEADERS)


def collect(transport: Transport, count: int) -> list[Exchange]:
    ended: list[Exchange] = []
    while len(ended) < count:
        some = transport.wait(15)
        assert some, f"{len(ended)} of {count} came back"
        ended += some
    return ended


def head_without_trailing_blanks(head: bytes) -> bytes:
    return b"\r\n".join(line.rstrip(b" ") for line in head.split(b"\r\n"))


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_is_sent_as_it_is_with_its_length_and_nothing_added(
    sender: Sender, receiver: Receiver, method: str
) -> None:
    body = '[{"text":"h\u00e9llo \u2603"}]'.encode() + bytes(range(256))
    assert sender.reply(receiver.url("/hook/a%2Fb?x=1&y=%20&x=2"), method, headers=HEADERS, body=body).status == 200
    (got,) = receiver.received
    assert head_without_trailing_blanks(got.head) == (
        f"{method} /hook/a%2Fb?x=1&y=%20&x=2 HTTP/1.1\r\nHost: 127.0.0.1:{receiver.port}\r\n{LINES}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode("latin-1")
    assert got.body == body


def test_a_get_has_no_body_and_no_length(sender: Sender, receiver: Receiver) -> None:
    assert sender.reply(receiver.url("/hook?type=SENT"), "GET", headers=HEADERS, body=None).status == 200
    (got,) = receiver.received
    assert head_without_trailing_blanks(got.head) == (
        f"GET /hook?type=SENT HTTP/1.1\r\nHost: 127.0.0.1:{receiver.port}\r\n{LINES}\r\n"
    ).encode("latin-1")


@pytest.mark.parametrize("body", [None, b""])
def test_a_post_without_body_says_that_its_length_is_0(sender: Sender, receiver: Receiver, body: bytes | None) -> None:
    sender.reply(receiver.url(), headers=(), body=body)
    (got,) = receiver.received
    assert got.headers == (("Host", f"127.0.0.1:{receiver.port}"), ("Content-Length", "0"))


def test_a_body_of_two_megabytes_arrives_whole(sender: Sender, receiver: Receiver) -> None:
    body = bytes(range(256)) * 8192
    assert sender.reply(receiver.url(), body=body).status == 200
    assert receiver.received[0].body == body
    assert receiver.received[0].header("Expect") is None


@pytest.mark.parametrize(
    ("end", "target"),
    [("", "/"), ("?a=1", "/?a=1"), ("/a/../b//c", "/a/../b//c"), ("/a#part", "/a"), ("/a?b=c?d/e", "/a?b=c?d/e")],
)
def test_the_path_is_sent_as_it_is_without_the_fragment(
    sender: Sender, receiver: Receiver, end: str, target: str
) -> None:
    sender.reply(receiver.origin + end)
    assert receiver.received[0].target == target


BAD_REQUESTS = {
    "CR LF in a value": {"headers": (("X-A", "secret\r\nX-B: injected"),)},
    "LF in a value": {"headers": (("X-A", "secret\ninjected"),)},
    "NUL in a value": {"headers": (("X-A", "secret\0"),)},
    "a value outside latin-1": {"headers": (("X-A", "secret \u2603"),)},
    "CR LF in a name": {"headers": (("X-A: secret\r\nX-B", "injected"),)},
    "a blank in a name": {"headers": (("X secret", "1"),)},
    "no name": {"headers": (("", "secret"),)},
    "a name twice": {"headers": (("X-A", "secret"), ("x-a", "2"))},
    "own Host": {"headers": (("host", "secret.example"),)},
    "own framing": {"headers": (("Content-Length", "3"), ("X-A", "secret"))},
    "Expect": {"headers": (("Expect", "100-continue"), ("X-A", "secret"))},
    "CR LF in the method": {"method": "GET /secret HTTP/1.1\r\nX"},
    "no time": {"timeout": 0.0},
    "no end": {"timeout": float("nan")},
    "CR LF in the URL": {"url": "http://127.0.0.1/secret HTTP/1.1\r\nX-B: injected"},
    "a blank in the URL": {"url": "http://127.0.0.1/a secret"},
    "a URL outside ASCII": {"url": "http://127.0.0.1/secret\u2603"},
    "credentials in the URL": {"url": "http://user:secret@127.0.0.1/"},
    "a file": {"url": "file:///etc/secret"},
    "no host": {"url": "http:///secret"},
    "no such port": {"url": "http://127.0.0.1:70000/secret"},
}


@pytest.mark.parametrize("changes", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_request_that_could_break_out_is_refused_without_quoting_it(
    sender: Sender, receiver: Receiver, changes: dict[str, object]
) -> None:
    values = {"url": receiver.url(), "method": "POST", **changes}
    with pytest.raises(ValueError, match=r"^(the|a header|headers|timeouts) ") as refused:
        sender.transport.send(request_to(**values))  # type: ignore[arg-type]
    assert "secret" not in str(refused.value)
    assert sender.reply(receiver.url("/after")).status == 200
    assert [got.target for got in receiver.received] == ["/after"]


def test_an_exchange_says_when_it_began_and_how_long_it_took(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/slow", Answer(200, delay=0.2))
    before = datetime.now(UTC)
    exchange = sender.exchange(receiver.url("/slow"))
    assert exchange.started_at.utcoffset() == timedelta(0)
    assert before <= exchange.started_at <= datetime.now(UTC)
    assert timedelta(seconds=0.2) <= exchange.duration <= timedelta(seconds=10)


def test_waiting_with_nothing_in_flight_returns_nothing(sender: Sender) -> None:
    assert sender.transport.wait(0) == []
    assert sender.transport.wait(0.05) == []


def test_500_requests_in_flight_at_once_come_back_exactly_once(new_transport: NewTransport, receiver: Receiver) -> None:
    transport = new_transport(capacity=500)
    assert transport.capacity == 500
    gate = receiver.gate()
    receiver.script("/held", (gate, *Answer(204).steps()))
    sent = [request_to(receiver.url("/held"), timeout=30.0, connect_timeout=10.0) for _ in range(500)]
    for request in sent:
        transport.send(request)
    while len(receiver.received) < 500:  # all at the receiver, none answered: they are in flight together
        assert transport.wait(0.05) == []
    with pytest.raises(RuntimeError):
        transport.send(request_to(receiver.url("/one-too-many")))
    gate.open()
    ended = collect(transport, 500)
    assert Counter(exchange.request.id for exchange in ended) == Counter(request.id for request in sent)
    assert {exchange.outcome.status for exchange in ended if isinstance(exchange.outcome, Reply)} == {204}
    assert transport.wait(0) == []
    assert receiver.at("/one-too-many") == []


def test_whatever_happens_every_request_comes_back_exactly_once(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    transport = new_transport(capacity=20)
    for path, behaviour in {"/reset": RESET, "/closed": NO_ANSWER, "/garbage": GARBAGE}.items():
        receiver.script(path, behaviour)
    urls = [receiver.url(path) for path in ("/ok", "/status/500", "/reset", "/closed", "/garbage")]
    urls += [f"http://127.0.0.1:{refusing_port()}/", "http://nonexistent.invalid/"]
    waiting = [request_to(url) for url in urls * 40]
    sent, ended = Counter(request.id for request in waiting), Counter[object]()
    in_flight = 0
    while waiting or in_flight:
        while waiting and in_flight < transport.capacity:
            transport.send(waiting.pop())
            in_flight += 1
        some = transport.wait(15)
        assert some
        in_flight -= len(some)
        ended.update(exchange.request.id for exchange in some)
    assert ended == sent


def test_a_closed_transport_takes_nothing_more(sender: Sender, receiver: Receiver) -> None:
    sender.reply(receiver.url("/before"))
    sender.transport.close()
    with pytest.raises(RuntimeError):
        sender.transport.send(request_to(receiver.url("/after")))
    sender.transport.close()
    assert [got.target for got in receiver.received] == ["/before"]


def test_closing_cuts_what_is_in_flight(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/held", (receiver.gate(),))
    sender.transport.send(request_to(receiver.url(f"/held?{uuid4()}"), timeout=30.0))
    while not receiver.received:
        assert sender.transport.wait(0.05) == []
    started = datetime.now(UTC)
    sender.transport.close()
    assert datetime.now(UTC) - started < timedelta(seconds=10)
