"""Every transport looks names up alike: one that hangs holds up no other, and waiting for a turn is not its fault."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply
from dispatcher.transport.failure_texts import ADDRESS_FULL
from dispatcher.transport.port import Transport
from tests.behaviours import Answer, Do, final
from tests.certificates import Authority
from tests.dead_ports import refusing_port
from tests.integration.transport.conftest import NewTransport, Sender, request_to
from tests.receiver import Receiver

CROWD = 150  # more names than any transport looks up at once


class Resolver:
    """Stands for `getaddrinfo`: `hanging-...` waits until `released`, every other name is at the given addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses or ("127.0.0.1",)
        self._changed = threading.Condition()
        self._asked: list[str] = []
        self.released = threading.Event()
        self.seconds = 0.0  # that every DNS lookup takes

    def __call__(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        with self._changed:
            self._asked.append(host)
            self._changed.notify_all()
        if host.startswith("hanging-"):
            self.released.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no server answers")
        threading.Event().wait(self.seconds)
        found = [socket.getaddrinfo(address, port, type=socket.SOCK_STREAM) for address in self._addresses]
        return [entry for entries in found for entry in entries]

    @property
    def asked(self) -> list[str]:
        with self._changed:
            return list(self._asked)

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._asked) >= count, 10), f"asked {len(self._asked)} times"


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.released.set()


def send_to_hanging_names(transport: Transport, count: int, account: str = "", **timeouts: float) -> None:
    for number in range(count):
        transport.send(request_to(f"http://hanging-{number}.example/", account=account, **timeouts))


def next_from(transport: Transport, host: str) -> Exchange:
    """The exchange with this host; those with others are passed over."""
    while some := transport.wait(15):
        for exchange in some:
            if host in exchange.request.url:
                return exchange
    raise AssertionError("it did not come back")


def gathered(transport: Transport, enough: Callable[[int], bool]) -> list[Exchange]:
    """What ends until it is `enough`, by its number."""
    ended: list[Exchange] = []
    for _ in range(200):
        if enough(len(ended)):
            return ended
        ended += transport.wait(0.05)
    raise AssertionError(f"{len(ended)} requests have ended")


def test_40_names_that_hang_do_not_hold_up_a_healthy_one(
    new_transport: NewTransport, receiver: Receiver, resolver: Resolver
) -> None:
    transport = new_transport(capacity=41, resolve=resolver)
    send_to_hanging_names(transport, 40, connect_timeout=2.0)
    resolver.wait_for(40)
    transport.send(request_to(f"http://healthy.example:{receiver.port}/"))
    (first,) = transport.wait(15)
    assert isinstance(first.outcome, Reply)
    assert first.duration.total_seconds() < 0.5
    others: list[Exchange] = []
    while len(others) < 40:
        some = transport.wait(15)
        assert some
        others += some
    assert {getattr(other.outcome, "kind", None) for other in others} == {FailureKind.DNS}


def test_600_names_of_one_account_that_hang_do_not_hold_up_another_account(
    new_transport: NewTransport, receiver: Receiver, resolver: Resolver
) -> None:
    transport = new_transport(capacity=650, resolve=resolver)
    send_to_hanging_names(transport, 600, account="big", connect_timeout=30.0, timeout=30.0)
    resolver.wait_for(56)
    for number in range(20):
        transport.send(request_to(f"http://healthy-{number}.example:{receiver.port}/", account="small"))
    healthy: list[Exchange] = []
    while len(healthy) < 20:
        some = transport.wait(15)
        assert some
        healthy += some
    assert {type(exchange.outcome) for exchange in healthy} == {Reply}
    hanging = [host for host in resolver.asked if host.startswith("hanging-")]
    assert len(hanging) == 56


def test_to_one_address_go_as_many_requests_as_it_has_slots_whatever_their_names(
    new_transport: NewTransport, receiver: Receiver, resolver: Resolver
) -> None:
    hold = receiver.gate()
    receiver.script("/held", (hold, final(200)))
    transport = new_transport(capacity=30, per_address=8, resolve=resolver)
    for account in ("big", "small"):
        for number in range(12):
            transport.send(request_to(f"http://{account}-{number}.example:{receiver.port}/held", account=account))
    refused = gathered(transport, lambda ended: ended + len(receiver.received) == 24)
    hold.open()
    answered = gathered(transport, lambda ended: ended + len(refused) == 24)
    assert {exchange.outcome for exchange in refused} == {ADDRESS_FULL}
    assert {type(exchange.outcome) for exchange in answered} == {Reply}
    assert dict(transport.addresses()) == {each.request.id: "127.0.0.1" for each in [*refused, *answered]}
    assert transport.addresses() == []
    assert 7 <= len(answered) <= 8
    assert 1 <= [exchange.request.account for exchange in answered].count("small") <= 7


def test_an_address_before_it_that_may_not_be_called_gives_it_no_more_slots(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    hold = receiver.gate()
    receiver.script("/held", (hold, final(200)))
    transport = new_transport(per_address=1, resolve=Resolver("10.0.0.1", "127.0.0.1"))
    transport.send(request_to(receiver.url("/held"), account="one"))
    assert gathered(transport, lambda _: len(receiver.received) == 1) == []
    transport.addresses()
    transport.send(request_to(f"http://two.example:{receiver.port}/held", account="two"))
    ended = gathered(transport, lambda ended: ended + len(receiver.received) == 2)
    assert [each.outcome for each in ended] == [ADDRESS_FULL]
    assert [address for _, address in transport.addresses()] == ["127.0.0.1"]
    hold.open()
    assert len(gathered(transport, lambda ended: ended == 1)) == 1


def test_the_slots_of_an_address_can_be_more_or_fewer_from_now_on(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    hold = receiver.gate()
    receiver.script("/held", (hold, final(200)))
    transport = new_transport(per_address=1)
    accounts = iter(range(10))

    def send_one() -> list[Exchange]:
        """From another account each; what came of it, unless it is held."""
        before = len(receiver.received)
        transport.send(request_to(receiver.url("/held"), account=str(next(accounts))))
        return gathered(transport, lambda ended: ended + len(receiver.received) == before + 1)

    assert send_one() == []
    assert [one.outcome for one in send_one()] == [ADDRESS_FULL]
    transport.limit_addresses(3)
    assert [send_one(), send_one()] == [[], []]
    transport.limit_addresses(1)
    assert [one.outcome for one in send_one()] == [ADDRESS_FULL]
    hold.open()
    assert len(gathered(transport, lambda ended: ended == 3)) == 3


@pytest.mark.parametrize("kept_alive", [True, False])
def test_a_slot_of_an_address_is_free_again_whatever_came_of_the_request(
    new_transport: NewTransport, receiver: Receiver, kept_alive: bool
) -> None:
    receiver.script("/cut", (Do.RESET,))
    sender = Sender(new_transport(per_address=1))
    outcomes = [
        sender.exchange(url).outcome
        for _ in range(3)
        for url in (
            receiver.url("/" if kept_alive else "/cut"),
            receiver.url("/cut"),
            f"http://127.0.0.1:{refusing_port()}/",
        )
    ]
    assert {getattr(outcome, "kind", None) for outcome in outcomes} <= {
        None, FailureKind.CONNECTION_RESET, FailureKind.CONNECTION_REFUSED,
    }  # fmt: skip


def test_a_kept_connection_counts_for_its_address_and_survives_a_request_that_finds_no_slot(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    hold = receiver.gate()
    receiver.script("/held", (hold, final(200)))
    transport = new_transport(per_address=1)
    sender = Sender(transport)
    sender.reply(receiver.url("/"))
    transport.send(request_to(receiver.url("/held")))
    assert gathered(transport, lambda _: len(receiver.received) == 2) == []
    assert sender.failure(receiver.url("/")) is FailureKind.NOT_SENT
    hold.open()
    (held,) = transport.wait(5)
    assert isinstance(held.outcome, Reply)
    sender.reply(receiver.url("/"))
    assert receiver.connections == 1


def test_the_wait_for_a_turn_is_not_taken_from_the_time_of_the_receiver(
    new_transport: NewTransport, receiver: Receiver, resolver: Resolver
) -> None:
    transport = new_transport(capacity=CROWD + 1, resolve=resolver)
    send_to_hanging_names(transport, CROWD, connect_timeout=10.0, timeout=10.0)
    resolver.seconds = 0.9
    began = monotonic()
    transport.send(request_to(f"http://healthy.example:{receiver.port}/", connect_timeout=1.5, timeout=1.5))
    threading.Timer(0.9, resolver.released.set).start()  # 0.9 s to its turn, 0.9 s for the DNS lookup
    exchange = next_from(transport, "healthy.example")
    assert isinstance(exchange.outcome, Reply), exchange.outcome
    assert monotonic() - began > 1.5
    assert 0.8 <= exchange.duration.total_seconds() < 1.5


def test_a_turn_that_does_not_come_ends_the_wait_and_is_no_dns_failure(
    new_transport: NewTransport, resolver: Resolver
) -> None:
    transport = new_transport(capacity=CROWD + 1, resolve=resolver)
    send_to_hanging_names(transport, CROWD, connect_timeout=10.0, timeout=10.0)
    transport.send(request_to("http://healthy.example/", connect_timeout=0.4))
    exchange = next_from(transport, "healthy.example")
    assert getattr(exchange.outcome, "kind", None) is FailureKind.NOT_SENT
    assert exchange.duration.total_seconds() < 2
    assert "healthy.example" not in resolver.asked


def test_an_address_needs_no_turn(new_transport: NewTransport, receiver: Receiver, resolver: Resolver) -> None:
    transport = new_transport(capacity=CROWD + 1, resolve=resolver)
    send_to_hanging_names(transport, CROWD, connect_timeout=10.0)
    transport.send(request_to(receiver.url()))
    assert next_from(transport, "127.0.0.1").duration.total_seconds() < 1
    assert "127.0.0.1" not in resolver.asked


def test_a_look_up_that_hangs_is_a_dns_failure_within_the_time_to_connect(
    new_transport: NewTransport, resolver: Resolver
) -> None:
    exchange = Sender(new_transport(resolve=resolver)).exchange("http://hanging-0.example/", connect_timeout=0.3)
    assert getattr(exchange.outcome, "kind", None) is FailureKind.DNS
    assert 0.28 <= exchange.duration.total_seconds() < 1.5


def test_a_look_up_that_hangs_ends_with_the_deadline_of_the_exchange(
    new_transport: NewTransport, resolver: Resolver
) -> None:
    sender = Sender(new_transport(resolve=resolver))
    exchange = sender.exchange("http://hanging-0.example/", connect_timeout=10.0, timeout=0.3)
    assert isinstance(exchange.outcome, Failure)
    assert exchange.duration.total_seconds() < 1.5


def test_the_deadline_covers_the_look_up_and_the_answer_together(
    new_transport: NewTransport, receiver: Receiver, resolver: Resolver
) -> None:
    resolver.seconds = 0.5
    receiver.script("/", (Do.HANG,))
    sender = Sender(new_transport(resolve=resolver))
    exchange = sender.exchange(f"http://slow.example:{receiver.port}/", timeout=0.8)
    assert getattr(exchange.outcome, "kind", None) is FailureKind.TIMEOUT
    assert 0.78 <= exchange.duration.total_seconds() < 1.25


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "secret-text"),
        socket.gaierror(socket.EAI_AGAIN, "secret-text"),
        UnicodeError("secret-text"),
        OSError(errno.EMFILE, "secret-text"),  # what EAI_SYSTEM becomes
    ],
    ids=["no such name", "no server", "no name", "no descriptor"],
)
def test_a_look_up_that_fails_is_a_dns_failure_and_the_next_one_is_asked_anew(
    new_transport: NewTransport, receiver: Receiver, resolver: Resolver, error: Exception
) -> None:
    failures = [error]

    def resolve(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return resolver(*args, **kwargs)

    sender, url = Sender(new_transport(resolve=resolve)), f"http://flaky.example:{receiver.port}/"
    outcome = sender.exchange(url).outcome
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.DNS
    assert "secret" not in outcome.detail
    assert "flaky" not in outcome.detail
    assert sender.reply(url).status == 200


def test_a_name_without_addresses_is_a_dns_failure(new_transport: NewTransport) -> None:
    def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    assert Sender(new_transport(resolve=nothing)).failure("http://none.example/") is FailureKind.DNS


# IPv6, and several addresses


def test_a_name_may_have_an_ipv6_address_only(new_transport: NewTransport) -> None:
    with Receiver(host="::1") as receiver:
        sender = Sender(new_transport(resolve=Resolver("::1")))
        assert sender.reply(f"http://six.example:{receiver.port}/").status == 200
        assert receiver.received[0].header("Host") == f"six.example:{receiver.port}"


@pytest.mark.parametrize("dead", ["::1", "2001:db8::1", "127.0.0.2"])
def test_the_next_address_is_tried_when_one_cannot_be_had(
    new_transport: NewTransport, receiver: Receiver, dead: str
) -> None:
    sender = Sender(new_transport(resolve=Resolver(dead, "127.0.0.1")))
    assert sender.reply(f"http://two.example:{receiver.port}/").status == 200


def test_a_name_where_every_address_refuses_is_refused(new_transport: NewTransport) -> None:
    sender = Sender(new_transport(resolve=Resolver("::1", "127.0.0.1")))
    assert sender.failure(f"http://two.example:{refusing_port()}/") is FailureKind.CONNECTION_REFUSED


def test_a_port_on_ipv6_where_nothing_listens_is_refused(sender: Sender) -> None:
    assert sender.failure(f"http://[::1]:{refusing_port()}/") is FailureKind.CONNECTION_REFUSED


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_names_share_no_connection_though_they_share_an_address(new_transport: NewTransport, host: str) -> None:
    with Receiver(host=host) as receiver:
        sender = Sender(new_transport(resolve=Resolver(host)))
        for name in ("one.example", "two.example", "one.example"):
            assert sender.reply(f"http://{name}:{receiver.port}/").status == 200
        assert [got.connection for got in receiver.received] == [1, 2, 1]


def test_a_certificate_is_checked_against_the_name_and_the_name_is_sent_to_the_server(
    new_transport: NewTransport, authority: Authority, resolver: Resolver
) -> None:
    told: list[str | None] = []
    context = authority.server("hook.example")
    context.set_servername_callback(_note(told))
    with Receiver(tls=context) as receiver:
        sender = Sender(new_transport(ca_bundle=authority.bundle, resolve=resolver))
        assert sender.reply(f"https://hook.example:{receiver.port}/").status == 200
        assert sender.failure(f"https://other.example:{receiver.port}/") is FailureKind.TLS
        assert sender.failure(receiver.url()) is FailureKind.TLS
        assert told == ["hook.example", "other.example", None]
        assert len(receiver.received) == 1


def test_a_certificate_may_be_for_an_ipv6_address(trusting: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("::1"), host="::1") as receiver:
        receiver.script("/", Answer(201))
        assert trusting.reply(receiver.url()).status == 201


def _note(told: list[str | None]) -> Callable[..., None]:
    def note(_socket: object, name: str | None, _context: object) -> None:
        told.append(name)

    return note
