"""Addresses and ports that no customer's receiver has, by IANA's special-purpose registries, each with its kind."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = "a cloud's metadata address"

_PUBLIC = ("0.0.0.0/0", "2000::/3")  # except what is in a smaller network below
_SPECIAL = {
    METADATA: (
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "169.254.0.23"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fe80::a9fe:a9fe"),
    ),
    "an unspecified address": ("0.0.0.0/8", "::"),
    "a loopback address": ("127.0.0.0/8", "::1"),
    "a private address": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "an address shared by a carrier's customers": ("100.64.0.0/10",),
    "a documentation address": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "a benchmarking address": ("198.18.0.0/15", "2001:2::/48"),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    "a broadcast address": ("255.255.255.255",),
    "an IPv4-mapped address": ("::ffff:0:0/96", "::ffff:0:0:0/96"),
    "an IPv4-compatible address": ("::/96",),
    "a NAT64 address": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "a 6to4 address": ("2002::/16", "192.88.99.0/24"),
    "a Teredo address": ("2001::/32",),
    "a reserved address": (
        *("192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "240.0.0.0/4"),
        *("2001::/23", "2620:4f:8000::/48", "::/0"),  # the last: all that is not global unicast
    ),
}

# Ports of services that take no callbacks, but that a callback could make do something. None is at 32768 or above:
# there, systems assign ports to programs that ask for any port.
_SERVICES = {
    "SOCKS": (1080,),
    "SQL Server": (1433, 1434),
    "Oracle": (1521,),
    "H.323": (1719, 1720),
    "MQTT": (1883,),
    "NFS": (2049,),
    "ZooKeeper": (2181,),
    "Docker": (2375, 2376, 2377),
    "etcd": (2379, 2380),
    "Squid": (3128,),
    "LDAP": (3268, 3269),
    "MySQL": (3306,),
    "RDP": (3389,),
    "NATS": (4222,),
    "Erlang": (4369, 25672),
    "Selenium": (4444,),
    "Nomad": (4646,),
    "SIP": (5060, 5061),
    "PostgreSQL": (5432, 5433, 6432),
    "AMQP": (5671, 5672),
    "VNC": tuple(range(5900, 5904)),
    "CouchDB": (5984,),
    "WinRM": (5985, 5986),
    "X11": tuple(range(6000, 6064)),
    "Redis": (6379, 6380, 16379, 26379),
    "Kubernetes": (6443, 10249, 10250, 10255, 10256),
    "IRC": (*range(6665, 6670), 6697),
    "WebLogic": (7001, 7002),
    "Vault": (8200,),
    "Consul": (8300, 8301, 8302, 8500),
    "Cassandra": (7199, 9042, 9160),
    "Kafka": (9092,),
    "Elasticsearch": (9200, 9300),
    "memcached": (11211,),
    "RabbitMQ": (15672,),
    "CockroachDB": (26257,),
    "MongoDB": (27017, 27018, 27019, 28017),
}
SERVICES = {port: name for name, ports in _SERVICES.items() for port in ports}


def special_kind(address: Address) -> str | None:
    """The kind of a special address, by the smallest network that it is in; None for a public address."""
    number = int(address)
    return next(kind for low, high, kind in _RANGES[address.version] if low <= number <= high)


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address in an IPv6 address of a form that contains one: a connection may really end there."""
    if isinstance(address, IPv4Address):
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if address.sixtofour is not None:
        return address.sixtofour
    in_its_end = int(address) > 1 and any(address in network for network in _IPV4_IN_THE_END)  # not :: and ::1
    return IPv4Address(int(address) & 0xFFFF_FFFF) if in_its_end else None


_IPV4_IN_THE_END = [
    IPv6Network(text) for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
]


def _ranges(networks: Iterable[tuple[Network, str | None]], version: int) -> list[tuple[int, int, str | None]]:
    smallest_first = sorted(
        [(network, kind) for network, kind in networks if network.version == version],
        key=lambda entry: -entry[0].prefixlen,
    )
    return [(int(network[0]), int(network[-1]), kind) for network, kind in smallest_first]


_NETWORKS: list[tuple[Network, str | None]] = [
    *[(ip_network(text), kind) for kind, texts in _SPECIAL.items() for text in texts],
    *[(ip_network(text), None) for text in _PUBLIC],
]
_RANGES = {version: _ranges(_NETWORKS, version) for version in (4, 6)}
