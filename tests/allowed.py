"""What the egress policy lets through in tests: their own receivers are on loopback, at any port."""

from ipaddress import ip_network

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.egress.special_addresses import SERVICES

# The system may give a receiver any port; nothing listens on port 9.
_NETWORKS, _PORTS = ("127.0.0.0/8", "::1"), frozenset({9, *SERVICES})

LOOPBACK = AddressPolicy(networks=tuple(map(ip_network, _NETWORKS)), ports=_PORTS)
LOOPBACK_VARIABLES = {
    "DISPATCHER_ALLOWED_NETWORKS": ",".join(_NETWORKS),
    "DISPATCHER_ALLOWED_PORTS": ",".join(map(str, sorted(_PORTS))),
}
