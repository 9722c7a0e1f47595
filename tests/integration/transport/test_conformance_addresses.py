"""Every transport asks the egress policy about the very address it connects to, whenever it connects, only then."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.egress.address_policy import AddressPolicy, read_networks
from dispatcher.egress.special_addresses import SERVICES
from dispatcher.transport.exchange import Failure, FailureKind
from tests.allowed import LOOPBACK
from tests.certificates import Authority
from tests.dead_ports import UnansweringPort, refusing_port
from tests.dns_server import DnsServer
from tests.integration.transport.conftest import NewTransport, Sender
from tests.receiver import Receiver

REFUSED = FailureKind.ADDRESS_REFUSED
CLOSED = AddressPolicy(ports=LOOPBACK.ports)  # the guard as it is by default; receivers have any port
IPV4_ONLY = replace(CLOSED, networks=read_networks("127.0.0.1"))


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


def failure(sender: Sender, url: str, **changes: Any) -> Failure:
    outcome = sender.exchange(url, **changes).outcome
    assert isinstance(outcome, Failure), outcome
    return outcome


def sockets_of(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets for connections that are made in this process from now on."""
    made: list[socket.socket] = []
    plain = socket.socket.__init__

    def counted(self: socket.socket, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        if self.type == socket.SOCK_STREAM and self.family in {socket.AF_INET, socket.AF_INET6}:
            made.append(self)

    monkeypatch.setattr(socket.socket, "__init__", counted)
    return made


def judged_by(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Hosts, addresses and ports that are judged from now on: each before a connection to it is tried."""
    judged: list[tuple[str, str, int]] = []
    plain = AddressPolicy.refused_address

    def counted(self: AddressPolicy, host: str, address: str, port: int) -> str | None:
        judged.append((host, address, port))
        return plain(self, host, address, port)

    monkeypatch.setattr(AddressPolicy, "refused_address", counted)
    return judged


# What is refused


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.7.7.7", "a loopback address"),
        ("[::1]", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("[::]", "an unspecified address"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "a cloud's metadata address"),
        ("[::ffff:127.0.0.1]", "an IPv4-mapped address"),
        ("[::127.0.0.1]", "an IPv4-compatible address"),
        ("[64:ff9b::7f00:1]", "a NAT64 address"),
        ("[2002:7f00:1::]", "a 6to4 address"),
        ("[fe80::1]", "a link-local address"),
        ("localhost", "a loopback address"),
        ("LOCALHOST", "a loopback address"),
        ("127.1", "a host that is neither a name nor an address in its usual form"),
        ("2130706433", "a host that is neither a name nor an address in its usual form"),
        ("0x7f000001", "a host that is neither a name nor an address in its usual form"),
        ("0177.0.0.1", "a host that is neither a name nor an address in its usual form"),
        ("0", "a host that is neither a name nor an address in its usual form"),
        ("127.0.0.1.", "a host that is neither a name nor an address in its usual form"),
        ("localhost.", "a host that is neither a name nor an address in its usual form"),
    ],
)
def test_a_refused_host_in_a_url_is_neither_looked_up_nor_connected_to(
    new_transport: NewTransport, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, host: str, reason: str
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was looked up")

    sender = Sender(new_transport(addresses=CLOSED, resolve=never))
    made = sockets_of(monkeypatch)
    assert failure(sender, f"http://{host}:{receiver.port}/") == Failure(REFUSED, reason)
    assert made == []
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("::", "an unspecified address"),
        ("::ffff:127.0.0.1", "an IPv4-mapped address"),
        ("::127.0.0.1", "an IPv4-compatible address"),
        ("10.0.0.1", "a private address"),
        ("100.64.0.1", "an address shared by a carrier's customers"),
        ("169.254.169.254", "a cloud's metadata address"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "a broadcast address"),
        ("192.0.2.1", "a documentation address"),
        ("198.18.0.1", "a benchmarking address"),
        ("240.0.0.1", "a reserved address"),
        ("fd00:ec2::254", "a cloud's metadata address"),
        ("64:ff9b::7f00:1", "a NAT64 address"),
        ("2002:7f00:1::", "a 6to4 address"),
        ("2001::1", "a Teredo address"),
        ("fe80::1", "a link-local address"),
        ("ff02::1", "a multicast address"),
    ],
)
def test_a_name_that_leads_to_a_refused_address_is_not_connected_to(
    new_transport: NewTransport,
    receiver: Receiver,
    dns: DnsServer,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    reason: str,
) -> None:
    dns.script("hook.example", (address,))
    sender = Sender(new_transport(addresses=CLOSED, resolve=dns.resolve))
    dns.resolve("hook.example", 80)  # opens what the resolver itself opens
    made = sockets_of(monkeypatch)
    assert failure(sender, f"http://hook.example:{receiver.port}/") == Failure(REFUSED, reason)
    assert made == []
    assert receiver.connections == 0


def test_a_refused_port_is_not_connected_to_and_an_allowed_one_is(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer
) -> None:
    dns.script("hook.example", ("127.0.0.1",))
    policy = AddressPolicy(networks=LOOPBACK.networks, ports=frozenset({receiver.port}))
    sender = Sender(new_transport(addresses=policy, resolve=dns.resolve))
    for port in (22, 25, 6379):
        assert failure(sender, f"http://hook.example:{port}/").kind is REFUSED
    assert dns.lookups("hook.example") == 0
    assert sender.reply(f"http://hook.example:{receiver.port}/").status == 200
    assert 6379 in SERVICES


def test_a_url_with_http_is_refused_where_only_https_may_be_used(
    new_transport: NewTransport, receiver: Receiver, authority: Authority
) -> None:
    plain, strict = Sender(new_transport()), Sender(new_transport(addresses=replace(LOOPBACK, https_only=True)))
    expected = Failure(REFUSED, "plain http, where only https may be used")
    assert failure(plain, receiver.url(), https_only=True) == expected
    assert failure(strict, receiver.url()) == expected
    assert plain.reply(receiver.url()).status == 200
    assert len(receiver.received) == 1
    with Receiver(tls=authority.server("127.0.0.1")) as encrypted:
        trusting = Sender(new_transport(addresses=replace(LOOPBACK, https_only=True), ca_bundle=authority.bundle))
        assert trusting.reply(encrypted.url(), https_only=True).status == 200


def test_refused_requests_take_no_slot_for_longer_than_until_the_next_wait(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    sender = Sender(new_transport(capacity=1, addresses=IPV4_ONLY))
    for _ in range(3):
        assert failure(sender, f"http://10.0.0.1:{receiver.port}/").kind is REFUSED
    assert sender.reply(receiver.url()).status == 200


# Several addresses


@pytest.mark.parametrize(
    "addresses",
    [("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "10.0.0.1"), ("::1", "127.0.0.1"), ("127.0.0.1", "::1", "fd00::1")],
)
def test_of_several_addresses_only_the_allowed_are_tried(
    new_transport: NewTransport,
    receiver: Receiver,
    dns: DnsServer,
    monkeypatch: pytest.MonkeyPatch,
    addresses: tuple[str, ...],
) -> None:
    dns.script("hook.example", addresses)
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    made = sockets_of(monkeypatch)
    assert sender.reply(f"http://hook.example:{receiver.port}/").status == 200
    assert {made_one.family for made_one in made} <= {socket.AF_INET}


@pytest.mark.parametrize("count", [8, 9, 600])
def test_of_very_many_addresses_the_first_eight_are_tried(
    new_transport: NewTransport, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def resolve(_host: str, port: int, **_: Any) -> Any:
        found = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    sender, judged = Sender(new_transport(resolve=resolve)), judged_by(monkeypatch)
    assert failure(sender, f"http://many.example:{refusing_port()}/").kind is FailureKind.CONNECTION_REFUSED
    assert len({address for _, address, _ in judged}) == 8


def test_where_every_address_is_refused_none_is_tried(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer
) -> None:
    dns.script("hook.example", ("127.0.0.1", "10.0.0.1", "::1"))
    sender = Sender(new_transport(addresses=CLOSED, resolve=dns.resolve))
    assert failure(sender, f"http://hook.example:{receiver.port}/").kind is REFUSED
    assert receiver.connections == 0


@pytest.mark.parametrize("addresses", [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("127.0.0.1", "10.0.0.1")])
def test_where_an_allowed_address_failed_that_failure_is_reported(
    new_transport: NewTransport, dns: DnsServer, addresses: tuple[str, ...]
) -> None:
    dns.script("hook.example", addresses)
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    assert failure(sender, f"http://hook.example:{refusing_port()}/").kind is FailureKind.CONNECTION_REFUSED


def test_where_an_allowed_address_does_not_answer_that_is_reported(new_transport: NewTransport, dns: DnsServer) -> None:
    dns.script("hook.example", ("127.0.0.1", "::1"))
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    with UnansweringPort() as dead:
        url = f"http://hook.example:{dead.port}/"
        assert failure(sender, url, connect_timeout=0.5).kind is FailureKind.CONNECT_TIMEOUT


# From one DNS lookup to the next


def test_an_answer_that_changes_after_a_connection_was_closed_is_judged_anew(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.dns_cache.KEPT_SECONDS", -1)  # each connection looks up
    dns.script("hook.example", ("127.0.0.1",), ("::1",))
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    url = f"http://hook.example:{receiver.port}/"
    assert sender.reply(url).status == 200
    receiver.close_idle()
    with socket.create_server(("::1", receiver.port), family=socket.AF_INET6) as other:
        other.setblocking(False)
        assert failure(sender, url) == Failure(REFUSED, "a loopback address")
        assert dns.lookups("hook.example") == 2
        with pytest.raises(BlockingIOError):
            other.accept()
    assert len(receiver.received) == 1


@pytest.mark.parametrize("rebound", ["127.0.0.2", "::1", "169.254.169.254", "::ffff:127.0.0.1"])
def test_between_the_check_and_the_connection_nothing_is_looked_up_again(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer, rebound: str
) -> None:
    dns.script("hook.example", ("127.0.0.1",), (rebound,))  # a second DNS lookup would find the other
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    assert sender.reply(f"http://hook.example:{receiver.port}/").status == 200
    assert dns.lookups("hook.example") == 1


def test_a_name_that_leads_to_an_allowed_address_later_is_called_then(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.dns_cache.KEPT_SECONDS", -1)
    dns.script("hook.example", ("10.0.0.1",), ("127.0.0.1",))
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    url = f"http://hook.example:{receiver.port}/"
    assert failure(sender, url) == Failure(REFUSED, "a private address")
    assert sender.reply(url).status == 200


def test_a_kept_alive_connection_was_checked_when_it_was_opened(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = judged_by(monkeypatch)
    dns.script("hook.example", ("127.0.0.1",), ("10.0.0.1",))
    sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
    url = f"http://hook.example:{receiver.port}/"
    assert [sender.reply(url).status for _ in range(5)] == [200] * 5
    assert [got.connection for got in receiver.received] == [1] * 5
    assert set(judged) == {("hook.example", "127.0.0.1", receiver.port)}
    assert len(judged) <= 2  # when it was looked up, if that is kept, and when it was connected to


def test_a_dead_kept_alive_connection_is_replaced_by_one_that_is_checked(
    new_transport: NewTransport, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.dns_cache.KEPT_SECONDS", -1)
    dns.script("hook.example", ("127.0.0.1",), ("127.0.0.2",))
    with Receiver() as receiver:
        sender = Sender(new_transport(addresses=IPV4_ONLY, resolve=dns.resolve))
        url = f"http://hook.example:{receiver.port}/"
        assert sender.reply(url).status == 200
        receiver.close_idle()
        assert failure(sender, url) == Failure(REFUSED, "a loopback address")


# The allow-list


def test_an_allowed_host_may_lead_to_a_private_address_and_no_other_may(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer
) -> None:
    for name in ("a.internal.example", "internal.example", "other.example"):
        dns.script(name, ("127.0.0.1",))
    sender = Sender(new_transport(addresses=replace(CLOSED, hosts=("internal.example",)), resolve=dns.resolve))
    assert sender.reply(f"http://internal.example:{receiver.port}/").status == 200
    assert sender.reply(f"http://a.internal.example:{receiver.port}/").status == 200
    assert failure(sender, f"http://other.example:{receiver.port}/").kind is REFUSED
    assert failure(sender, receiver.url()).kind is REFUSED


def test_the_switch_for_development_lets_every_address_through(
    new_transport: NewTransport, receiver: Receiver, dns: DnsServer
) -> None:
    dns.script("hook.example", ("127.0.0.1",))
    sender = Sender(new_transport(addresses=AddressPolicy(any_address=True), resolve=dns.resolve))
    assert sender.reply(f"http://hook.example:{receiver.port}/").status == 200
    assert sender.reply(receiver.url()).status == 200


def test_an_ipv6_address_with_a_scope_is_no_address(new_transport: NewTransport, receiver: Receiver) -> None:
    def resolve(_host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", port, 0, 1))]

    sender = Sender(new_transport(addresses=AddressPolicy(networks=read_networks("::/0")), resolve=resolve))
    assert failure(sender, f"http://hook.example:{receiver.port}/").kind is FailureKind.DNS


# How names are looked up, and this machine's own addresses


def test_no_list_of_domains_to_search_makes_another_name_of_it(
    new_transport: NewTransport, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = socket.getaddrinfo, []

    def searching(host: str, port: int, **options: Any) -> Any:
        """As glibc with `search cluster.local` and ndots:5: a name without its final dot is looked for there first."""
        if options.get("flags"):
            return plain(host, port, **options)
        asked.append(host)
        if host.endswith(".") or host == "receiver":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return plain("127.0.0.1", port, **options)  # host.cluster.local

    monkeypatch.setattr("socket.getaddrinfo", searching)
    sender = Sender(new_transport(addresses=replace(LOOPBACK, hosts=("internal.example",))))
    assert failure(sender, f"http://hook.example:{receiver.port}/").kind is FailureKind.DNS
    assert asked == ["hook.example."]
    assert receiver.connections == 0
    assert sender.reply(f"http://internal.example:{receiver.port}/").status == 200  # as it is written in the list
    assert sender.reply(f"http://localhost:{receiver.port}/").status == 200
    assert asked[1:] == ["internal.example", "localhost"]
    assert dict(receiver.received[0].headers)["Host"] == f"internal.example:{receiver.port}"


def test_a_name_that_leads_to_refused_addresses_is_looked_up_for_each_request_as_one_that_does_not_exist(
    new_transport: NewTransport, dns: DnsServer
) -> None:
    """Otherwise the time of the second attempt would tell which names there are in the operator's network."""
    dns.script("private.example", ("10.1.2.3", "fd00::17"))
    sender = Sender(new_transport(addresses=CLOSED, resolve=dns.resolve))
    for name, kind in (("private.example", REFUSED), ("missing.example", FailureKind.DNS)):
        exchanges = [sender.exchange(f"http://{name}/") for _ in range(3)]
        assert {each.outcome.kind for each in exchanges if isinstance(each.outcome, Failure)} == {kind}
        assert dns.lookups(name) == 3
        assert {each.looked_up for each in exchanges} == {True} or kind is FailureKind.DNS


def test_a_name_that_leads_to_an_own_address_is_not_connected_to(
    new_transport: NewTransport, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns.script("hook.example", ("8.8.4.4", "2606:4700::1"))
    policy = AddressPolicy(is_own={"8.8.4.4", "2606:4700::1"}.__contains__)
    sender = Sender(new_transport(addresses=policy, resolve=dns.resolve))
    dns.resolve("hook.example", 80)
    made = sockets_of(monkeypatch)
    assert failure(sender, "http://hook.example/") == Failure(REFUSED, "an address of this machine")
    assert failure(sender, "http://8.8.4.4/") == Failure(REFUSED, "an address of this machine")
    assert made == []
