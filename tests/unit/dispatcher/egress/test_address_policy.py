"""The egress policy: what it refuses and why, in every spelling, and what the allow-list lets through."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.egress.address_policy import ONE_LABEL, OWN, AddressPolicy, read_hosts, read_networks, read_ports
from dispatcher.egress.special_addresses import METADATA, SERVICES, embedded
from dispatcher.errors import ConfigurationError
from dispatcher.settings import read_settings
from tests.each import each

POLICY = AddressPolicy()

# By kind, in the words of the refusal; None: public.
ADDRESSES = {
    None: """
        1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
        168.63.129.15 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255
        192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
        2001:200:: 2001:4860:4860::8888 2001:db7:ffff:: 2001:db9:: 2003:: 2400:cb00:: 2606:4700:4700::1111
        2a00:1450:4001:81b::200e 2c0f:fb50:: 2001:67c:2e8:22::c100:68b 3ffe::1""",
    METADATA: """
        169.254.169.254 169.254.170.2 169.254.170.23 169.254.42.42 169.254.0.23 100.100.100.200 168.63.129.16
        192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fe80::a9fe:a9fe""",
    "an unspecified address": "0.0.0.0 0.0.0.1 0.1.2.3 0.255.255.255 ::",
    "a loopback address": "127.0.0.1 127.0.0.0 127.0.1.1 127.1.2.3 127.255.255.255 ::1",
    "a private address": """
        10.0.0.0 10.0.0.1 10.255.255.255 172.16.0.0 172.16.0.1 172.20.10.4 172.31.255.255 192.168.0.1 192.168.1.1
        192.168.255.255 fc00:: fc00::1 fd00::1 fd12:3456:789a::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fec0::1
        feff::1""",
    "a link-local address": """
        169.254.0.0 169.254.0.1 169.254.169.253 169.254.255.255 fe80:: fe80::1 fe80::5054:ff:fe12:3456
        febf:ffff::""",
    "an address shared by a carrier's customers": "100.64.0.0 100.64.0.1 100.100.100.100 100.127.255.255",
    "a documentation address": """
        192.0.2.0 192.0.2.1 192.0.2.255 198.51.100.7 203.0.113.255 2001:db8:: 2001:db8::1 2001:db8:ffff:: 3fff::
        3fff:fff:ffff::1""",
    "a benchmarking address": "198.18.0.0 198.18.0.1 198.19.255.255 2001:2:: 2001:2:0:ffff::1",
    "a multicast address": """
        224.0.0.0 224.0.0.1 230.1.2.3 239.255.255.250 239.255.255.255 ff00:: ff02::1 ff05::2 ff0e::1""",
    "a broadcast address": "255.255.255.255",
    "a reserved address": """
        192.0.0.0 192.0.0.8 192.0.0.170 192.31.196.1 192.52.193.1 192.175.48.1 240.0.0.0 240.0.0.1 250.1.2.3
        255.255.255.254 100:: 100::1 100:0:0:1::1 2001:1::1 2001:3::1 2001:10::1 2001:20::1 2001:1ff:: 200:: 400::1
        4000::1 5f00::1 6000::1 8000::1 a000::1 c000::1 e000::1 fe00::1 1fff:ffff::1 2620:4f:8000::1""",
    "an IPv4-mapped address": """
        ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 ::ffff:0.0.0.0
        ::ffff:255.255.255.255 0:0:0:0:0:ffff:c0a8:101 ::ffff:0:127.0.0.1 ::ffff:0:808:808""",
    "an IPv4-compatible address": "::2 ::127.0.0.1 ::7f00:1 ::10.0.0.1 ::8.8.8.8 ::169.254.169.254 ::255.255.255.255",
    "a NAT64 address": """
        64:ff9b:: 64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1
        64:ff9b:1::1 64:ff9b:1:fffe::10.0.0.1""",
    "a 6to4 address": """
        2002:: 2002:7f00:1:: 2002:7f00:0001::1 2002:a00:1::1 2002:808:808::1 2002:c0a8:101:: 192.88.99.1""",
    "a Teredo address": "2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:5ef5:79fd:0:59d:a000:1",
}
CASES = [(address, kind) for kind, addresses in ADDRESSES.items() for address in addresses.split()]


def test_the_table_is_long_enough() -> None:
    assert len({address for address, _ in CASES}) == len(CASES) >= 150


def test_an_address_is_judged_by_what_it_is() -> None:
    assert [(address, POLICY.refused_address("hook.example", address, 443)) for address, _ in CASES] == CASES
    # written out in a URL
    assert [(address, POLICY.refused_origin("https", address, 443)) for address, _ in CASES] == CASES


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2001:4860:4860::8888%1", "127.1", "", "hook.example", "1.2.3.4.5"])
def test_what_is_no_plain_address_is_never_connected_to(text: str) -> None:
    assert POLICY.refused_address("hook.example", text, 443) in {
        "an address of a single link",
        "an address that cannot be read",
    }


# Hosts


@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost", "a.b.localhost", "localhost.localdomain", "ip6-localhost"]
)
def test_a_name_of_this_machine_is_judged_as_its_address(host: str) -> None:
    assert POLICY.refused_origin("https", host, 443) == "a loopback address"
    assert AddressPolicy(networks=read_networks("127.0.0.0/8")).refused_origin("https", host, 443) is None
    assert AddressPolicy(hosts=(host,)).refused_origin("https", host, 443) is None


@pytest.mark.parametrize(
    "host", ["example.com", "a.b", "xn--bcher-kva.example", "under_score.example", "7.example", "x.a0x1"]
)
def test_a_name_is_judged_when_its_addresses_are_known(host: str) -> None:
    assert POLICY.refused_origin("https", host, 443) is None


@each(
    "host", ["127.1", "0", "0x7f.1", "017700000001", "2130706433", "example.com.", "127.0.0.1.", "a..b", "-a.example",
             "a-.example", "", ".", "a" * 64 + ".example", "a." * 127 + "ab", "127.0.0.1.0x", "exa mple.com", "[::1]"]
)  # fmt: skip
def test_a_host_that_programs_read_in_different_ways_is_refused(host: str) -> None:
    expected = "a host that is neither a name nor an address in its usual form"
    assert POLICY.refused_origin("https", host, 443) == expected
    assert AddressPolicy(networks=read_networks("0.0.0.0/0")).refused_origin("https", host, 443) == expected


# Ports and schemes


@each("port", [80, 443, 1024, 3000, 5000, 8000, 8080, 8443, 8888, 9000, 9090, 32768, 65535])
def test_a_usual_port_may_be_used(port: int) -> None:
    assert POLICY.refused_origin("https", "example.com", port) is None
    assert POLICY.refused_address("example.com", "8.8.8.8", port) is None


@each("port", [1, 21, 22, 23, 25, 53, 79, 81, 110, 143, 389, 442, 444, 445, 465, 587, 993, 1023])
def test_a_port_below_1024_may_not(port: int) -> None:
    reason = f"port {port}: below 1024 only 80 and 443 may be used"
    assert POLICY.refused_origin("https", "example.com", port) == reason
    assert POLICY.refused_address("example.com", "8.8.8.8", port) == reason


@each(
    "port, name",
    [(1433, "SQL Server"), (2375, "Docker"), (3306, "MySQL"), (3389, "RDP"), (5432, "PostgreSQL"), (5672, "AMQP"),
     (6000, "X11"), (6063, "X11"), (6379, "Redis"), (6443, "Kubernetes"), (9200, "Elasticsearch"),
     (11211, "memcached"), (27017, "MongoDB")],
)  # fmt: skip
def test_a_port_of_a_well_known_service_may_not(port: int, name: str) -> None:
    assert POLICY.refused_origin("https", "example.com", port) == f"port {port}, which is for {name}"
    assert POLICY.refused_address("example.com", "8.8.8.8", port) == f"port {port}, which is for {name}"


def test_no_port_that_systems_give_to_anybody_is_taken_for_a_service() -> None:
    assert all(1024 <= port < 32768 for port in SERVICES)


def test_plain_http_is_refused_where_the_installation_or_the_webhook_says_so() -> None:
    reason = "plain http, where only https may be used"
    assert POLICY.refused_origin("http", "example.com", 80) is None
    assert POLICY.refused_origin("http", "example.com", 80, https_only=True) == reason
    assert POLICY.refused_origin("https", "example.com", 443, https_only=True) is None
    for strict in (AddressPolicy(https_only=True), AddressPolicy(https_only=True, any_address=True)):
        assert strict.refused_origin("http", "example.com", 80) == reason
        assert strict.refused_origin("https", "example.com", 443) is None


# The allow-list


@each(
    "networks, address, kind",
    [
        ("10.1.0.0/16", "10.1.255.1", None),
        ("10.1.0.0/16", "10.2.0.1", "a private address"),
        ("10.1.2.3", "10.1.2.3", None),
        ("127.0.0.0/8", "::1", "a loopback address"),
        ("::1", "::1", None),
        ("0.0.0.0/0, ::/0", "192.168.1.1", None),
        ("0.0.0.0/0, ::/0", "fd00::1", None),
        # Metadata must be allowed by itself.
        ("169.254.0.0/16", "169.254.1.1", None),
        ("169.254.0.0/16", "169.254.169.254", METADATA),
        ("0.0.0.0/0, ::/0", "169.254.169.254", METADATA),
        ("169.254.169.252/31, 169.254.169.254/31", "169.254.169.254", METADATA),
        ("0.0.0.0/0, ::/0", "fd00:ec2::254", METADATA),
        ("169.254.169.254", "169.254.169.254", None),
        ("fd00:ec2::254/128", "fd00:ec2::254", None),
        # An IPv6 address that holds an IPv4 one: both.
        ("127.0.0.0/8", "::ffff:127.0.0.1", "an IPv4-mapped address"),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", None),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", "a private address"),
        ("64:ff9b::/96, 10.0.0.0/8", "64:ff9b::10.0.0.1", None),
        ("64:ff9b:1::/48", "64:ff9b:1:fffe::127.0.0.1", "a loopback address"),
        ("::/0", "::ffff:192.168.0.1", "a private address"),
        ("::/0", "::192.168.0.1", "a private address"),
        ("::/0", "2002:c0a8:1::", "a private address"),
        ("::/0", "2001:0:5ef5:79fd:0:59d:3f57:fffe", "a private address"),  # 192.168.0.1, inverted
        ("::/0, 0.0.0.0/0", "64:ff9b::a9fe:a9fe", METADATA),
        ("::/0", "::1", None),
        ("::/0", "::", None),
    ],
)
def test_a_network_that_is_allowed_lets_its_addresses_through(networks: str, address: str, kind: str | None) -> None:
    policy = AddressPolicy(networks=read_networks(networks))
    assert policy.refused_address("hook.example", address, 443) == kind


@pytest.mark.parametrize(
    ("host", "address", "kind"),
    [
        ("internal.example", "10.0.0.1", None),
        ("a.b.internal.example", "fd00::1", None),
        ("a.internal.example", "127.0.0.1", None),
        ("notinternal.example", "10.0.0.1", "a private address"),
        ("internal.example.com", "10.0.0.1", "a private address"),
        ("example", "10.0.0.1", "a private address"),
        ("a.internal.example", "169.254.169.254", METADATA),
        ("a.internal.example", "64:ff9b::a9fe:a9fe", METADATA),
        ("a.internal.example", "64:ff9b::a00:1", None),
    ],
)
def test_a_host_that_is_allowed_lets_names_below_it_lead_anywhere_but_to_metadata(
    host: str, address: str, kind: str | None
) -> None:
    policy = AddressPolicy(hosts=read_hosts("Internal.Example"))
    assert policy.refused_address(host, address, 443) == kind


def test_a_port_that_is_allowed_may_be_used_at_addresses_that_may_be_called() -> None:
    policy = AddressPolicy(ports=read_ports("25, 5432"))
    assert policy.refused_origin("http", "example.com", 25) is None
    assert policy.refused_address("example.com", "8.8.8.8", 5432) is None
    assert policy.refused_address("example.com", "10.0.0.1", 5432) == "a private address"
    assert policy.refused_address("example.com", "8.8.8.8", 5433) == "port 5433, which is for PostgreSQL"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1"])
def test_the_switch_for_development_lets_everything_through(address: str) -> None:
    policy = AddressPolicy(any_address=True)
    assert policy.refused_address("hook.example", address, 22) is None
    assert policy.refused_origin("http", address, 22) is None


@each(
    "read, text",
    [
        (read_networks, "10.0.0.1/8"),
        (read_networks, "10.0.0.0/33"),
        (read_networks, "10.0.0.0/8 fd00::/8"),
        (read_networks, "internal.example"),
        (read_hosts, ".internal.example"),
        (read_hosts, "*.internal.example"),
        (read_hosts, "10.0.0.1"),
        (read_hosts, "https://internal.example"),
        (read_ports, "0"),
        (read_ports, "65536"),
        (read_ports, "8000-9000"),
        (read_ports, "-1"),
        (read_ports, "٢٥"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_an_example(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="must be a list like"):
        read(text)


@pytest.mark.parametrize(("name", "text"), [("NETWORKS", "10.0.0.1/8"), ("HOSTS", ".example"), ("PORTS", "0")])
def test_a_process_does_not_start_with_a_list_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere/none")
    monkeypatch.setenv("BROKER_URL", "redis://nowhere")
    monkeypatch.setenv(f"DISPATCHER_ALLOWED_{name}", text)
    with pytest.raises(ConfigurationError, match=f"DISPATCHER_ALLOWED_{name} must be a list like"):
        read_settings()


def test_an_empty_list_and_stray_commas_allow_nothing() -> None:
    assert (read_networks(""), read_hosts(" , "), read_ports(",")) == ((), (), frozenset())


# Whatever the address


EMBEDDING = {
    "mapped": lambda v4: IPv6Address((0xFFFF << 32) | int(v4)),
    "compatible": lambda v4: IPv6Address(int(v4)),
    "nat64": lambda v4: IPv6Address((0x64FF9B << 96) | int(v4)),
    "6to4": lambda v4: IPv6Address((0x2002 << 112) | (int(v4) << 80)),
    "teredo": lambda v4: IPv6Address((0x20010000 << 96) | (int(v4) ^ 0xFFFFFFFF)),
}


@pytest.mark.parametrize("form", EMBEDDING)
@given(address=st.ip_addresses(v=4).filter(lambda address: int(address) > 1))
@settings(deadline=None)
def test_an_ipv4_address_in_an_ipv6_one_is_found_and_refused(form: str, address: IPv4Address) -> None:
    holding = EMBEDDING[form](address)
    assert embedded(holding) == address
    assert POLICY.refused_address("hook.example", str(holding), 443) is not None
    open_to_v6 = AddressPolicy(networks=(ip_network("::/0"),))
    plain = open_to_v6.refused_address("hook.example", str(address), 443)
    assert open_to_v6.refused_address("hook.example", str(holding), 443) == plain


@given(address=st.ip_addresses())
@settings(deadline=None, max_examples=150)
def test_nothing_is_let_through_that_the_standard_library_does_not_hold_for_global(
    address: IPv4Address | IPv6Address,
) -> None:
    if POLICY.refused_address("hook.example", str(address), 443) is None:
        assert address.is_global
        assert not address.is_multicast


@given(address=st.ip_addresses())
@settings(deadline=None)
def test_an_address_is_judged_alike_in_every_form_of_its_text(address: IPv4Address | IPv6Address) -> None:
    reasons = {
        POLICY.refused_address("h.example", text, 443)
        for text in (str(address), address.exploded, address.exploded.upper())
    }
    assert len(reasons) == 1
    assert ip_address(address.exploded) == address


@pytest.mark.parametrize("host", ["intranet", "a", "com", "xn--bcher-kva", "under_score", "a0x1"])
def test_a_name_of_one_label_may_be_called_only_if_the_allow_list_names_it(host: str) -> None:
    for policy in (POLICY, AddressPolicy(hosts=("intra.net",)), AddressPolicy(networks=(ip_network("10.0.0.0/8"),))):
        assert policy.refused_origin("https", host, 443) == ONE_LABEL
    assert AddressPolicy(hosts=(host,)).refused_origin("https", host, 443) is None
    assert AddressPolicy(any_address=True).refused_origin("https", host, 443) is None


def test_names_are_looked_up_as_absolute_except_for_those_of_the_allow_list() -> None:
    policy = AddressPolicy(hosts=("internal.example", "receiver"))
    assert policy.looked_up_as("hook.example") == "hook.example."
    assert policy.looked_up_as("not-internal.example") == "not-internal.example."
    for host in ("internal.example", "a.internal.example", "receiver", "localhost", "a.localhost"):
        assert policy.looked_up_as(host) == host
    assert AddressPolicy(any_address=True).looked_up_as("hook.example") == "hook.example"


OWN_ADDRESSES = ("8.8.4.4", "10.1.2.3", "2606:4700::1", "fd00::17")


def of_this_machine(networks: str = "", **more: object) -> AddressPolicy:
    return AddressPolicy(networks=read_networks(networks), is_own=OWN_ADDRESSES.__contains__, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", OWN_ADDRESSES)
def test_an_address_of_this_machine_may_be_called_only_if_the_allow_list_names_it_or_loopback(address: str) -> None:
    everything_else = of_this_machine("10.0.0.0/8, fd00::/8, 8.0.0.0/6, 2000::/3", hosts=("hook.example",))
    assert everything_else.refused_address("hook.example", address, 443) == OWN
    assert everything_else.refused_origin("https", address, 443) == OWN
    for networks in (address, "127.0.0.1, 10.0.0.0/8, fd00::/8", "::1, 10.0.0.0/8, fd00::/8"):
        assert of_this_machine(networks).refused_address("hook.example", address, 443) is None
    assert of_this_machine(any_address=True).refused_address("hook.example", address, 443) is None


def test_others_are_judged_as_before_and_the_system_is_asked_only_about_what_may_be_called() -> None:
    asked: list[str] = []

    def is_own(address: str) -> bool:
        asked.append(address)
        return False

    policy = AddressPolicy(is_own=is_own)
    for kind, addresses in ADDRESSES.items():
        for address in addresses.split():
            assert policy.refused_address("hook.example", address, 443) == kind
    assert set(asked) == {str(ip_address(address)) for address in (ADDRESSES[None] or "").split()}


def test_an_own_address_within_an_ipv6_address_is_found() -> None:
    policy = of_this_machine("64:ff9b::/96, 10.0.0.0/8")
    assert policy.refused_address("hook.example", "64:ff9b::10.1.2.3", 443) == OWN
    assert policy.refused_address("hook.example", "64:ff9b::10.1.2.4", 443) is None
