"""The egress policy: which origins and addresses may be called. Pure; asked at registration and when connecting."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

from dispatcher.egress.special_addresses import METADATA, SERVICES, Address, Network, embedded, special_kind

ANY_ADDRESS = (
    "DISPATCHER_UNSAFE_ALLOW_ANY_ADDRESS is on: anyone who registers a webhook can make this engine call any address "
    "and port that it can reach, including this machine, its network and its cloud's metadata. For development only"
)

DEVELOPMENT_MODE = (
    "DEVELOPMENT MODE: DISPATCHER_ALLOWED_NETWORKS includes 127.0.0.0/8: anyone who registers a webhook can have "
    "programs on this machine called. Not for other people's webhooks"
)
PLAIN_HTTP = "plain http, where only https may be used"
ODD_HOST = "a host that is neither a name nor an address in its usual form"
ONE_LABEL = "a name without a dot, which leads to another machine in each network"
OWN = "an address of this machine"

_LOOPBACK = IPv4Network("127.0.0.0/8")
_LOOPBACK_ADDRESSES = IPv4Address("127.0.0.1"), IPv6Address("::1")
# A socket can be bound to these as if they were the machine's own. Those that are have a rule of their own.
_LIKE_OWN = {"a loopback address", "an unspecified address", "a multicast address", "a broadcast address"}

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_THIS_MACHINE = re.compile(r"(.+\.)?localhost|localhost\.localdomain|ip6-(localhost|loopback)")


def _no_address(_address: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What the egress policy lets through besides public addresses and usual ports.

    `networks`, `hosts` (suffixes of whole labels) and `ports` are the allow-list of the installation, `any_address`
    switches the policy off. A metadata address must be allowed by itself: neither a larger network nor a host is
    enough. The same holds for the machine's own addresses, about which `is_own` is asked, unless loopback is allowed.
    For an IPv6 address that contains an IPv4 one, both must be allowed.
    """

    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset()
    https_only: bool = False
    any_address: bool = False
    contact_domains: tuple[str, ...] = ()  # that contacts may be in besides public ones
    is_own: Callable[[str], bool] = _no_address

    @property
    def includes_this_machine(self) -> bool:
        """Whether the allowed networks contain all addresses by which a machine calls itself."""
        return any(isinstance(network, IPv4Network) and _LOOPBACK.subnet_of(network) for network in self.networks)

    def refused_origin(self, scheme: str, host: str, port: int, *, https_only: bool = False) -> str | None:
        """Why an origin may not be called, as far as that is known without connecting; None if it may.

        `host` is in lower case, an IPv6 address without brackets; `https_only` is the webhook's own setting. Reasons
        never quote the host.
        """
        if scheme != "https" and (https_only or self.https_only):
            return PLAIN_HTTP
        if self.any_address:
            return None
        return self._refused_port(port) or self._refused_host(host)

    def refused_address(self, host: str, address: str, port: int) -> str | None:
        """Why a numeric address, one of those of `host`, may not be connected to; None if it may."""
        if self.any_address:
            return None
        return self._refused_port(port) or self._refused_text(host, address)

    def looked_up_as(self, host: str) -> str:
        """A host name as it is given to the system's resolver: absolute, so that no list of domains to search makes
        another name of it. Names of the allow-list are looked up as they are written: they may be in the machine's own
        file of hosts, or be a container's, where a dot at the end would be another name."""
        if self.any_address or self._is_allowed(host) or _THIS_MACHINE.fullmatch(host):
            return host
        return f"{host}."

    def _refused_port(self, port: int) -> str | None:
        if port in self.ports or port in {80, 443}:
            return None
        if port in SERVICES:
            return f"port {port}, which is for {SERVICES[port]}"
        return f"port {port}: below 1024 only 80 and 443 may be used" if port < 1024 else None

    def _refused_host(self, host: str) -> str | None:
        if is_address(host):
            return self._refused_text(host, host)
        if not is_name(host):
            return ODD_HOST
        if _THIS_MACHINE.fullmatch(host):
            return self._refused_text(host, "127.0.0.1")
        return None if "." in host or self._is_allowed(host) else ONE_LABEL

    def _refused_text(self, host: str, text: str) -> str | None:
        if "%" in text:
            return "an address of a single link"
        try:
            return self._refused(host, ip_address(text))
        except ValueError:
            return "an address that cannot be read"

    def _refused(self, host: str, address: Address) -> str | None:
        kind = special_kind(address)
        networks = [network for network in self.networks if address in network]
        if any(network.num_addresses == 1 for network in networks):
            return None
        if kind is not None and (kind == METADATA or not (networks or self._is_allowed(host))):
            return kind
        if kind not in _LIKE_OWN and not self._includes_loopback and self.is_own(str(address)):
            return OWN
        within = None if kind is None else embedded(address)
        return None if within is None else self._refused(host, within)

    @property
    def _includes_loopback(self) -> bool:
        return any(address in network for address in _LOOPBACK_ADDRESSES for network in self.networks)

    def _is_allowed(self, host: str) -> bool:
        return any(host == suffix or host.endswith(f".{suffix}") for suffix in self.hosts)


def is_address(host: str) -> bool:
    """Whether a host is an IPv4 address in four decimal numbers, or an IPv6 address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_name(host: str) -> bool:
    """Whether a host, in lower case, is a DNS name. One whose last part is a number is not: connecting programs read it
    as an odd spelling of an IPv4 address (`127.1`, `0x7f.1`, `2130706433`). Nor is one that ends with a dot: some
    programs treat it as another name."""
    return len(host) <= 253 and bool(_NAME.fullmatch(host)) and not _NUMERIC.fullmatch(host.rpartition(".")[2])


def read_networks(text: str) -> tuple[Network, ...]:
    """The networks in a comma-separated list of CIDRs and single addresses. Raises ValueError with the number of the
    entry that is wrong."""
    networks = []
    for number, part in enumerate(_parts(text), 1):
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise ValueError(f"must be a list like 10.1.2.0/24, fd12::/64: entry {number} is not a network") from None
    return tuple(networks)


def read_hosts(text: str) -> tuple[str, ...]:
    """The host suffixes in a comma-separated list. Raises ValueError with the number of the entry that is wrong."""
    for number, part in enumerate(_parts(text.lower()), 1):
        if not is_name(part):
            raise ValueError(f"must be a list like hooks.example, internal.example: entry {number} is not a host name")
    return tuple(_parts(text.lower()))


def read_ports(text: str) -> frozenset[int]:
    """The ports in a comma-separated list. Raises ValueError with the number of the entry that is wrong."""
    for number, part in enumerate(_parts(text), 1):
        if not re.fullmatch(r"[0-9]{1,5}", part) or not 0 < int(part) < 65536:
            raise ValueError(f"must be a list like 25, 5432: entry {number} is not a port")
    return frozenset(map(int, _parts(text)))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
