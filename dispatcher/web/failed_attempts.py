"""Pure. How many secrets that are not valid an address has shown of late."""

from collections import OrderedDict
from ipaddress import IPv4Address, ip_address, ip_network
from math import ceil

PER_MINUTE = 60
_MOST_ADDRESSES = 10_000  # the ones that failed longest ago are forgotten
_NETWORK_BITS = 64  # of IPv6: whoever has one address has such a network


class FailedAttempts:
    """Each address may fail `PER_MINUTE` times at once, and once more each second. `now` is monotonic."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when nothing will be left of its failures

    def add(self, address: str, now: float) -> None:
        """Counts a failure."""
        free_at = max(self._free_at.pop(address, now), now) + 60 / PER_MINUTE
        self._free_at[address] = min(free_at, now + 2 * 60)  # who goes on is told to wait for a minute
        if len(self._free_at) > _MOST_ADDRESSES:
            self._free_at.popitem(last=False)

    def seconds_to_wait(self, address: str, now: float) -> int:
        """0, or how long until a failure is again within the limit."""
        return max(0, ceil(self._free_at.get(address, now) - now - 60))

    def forget(self) -> None:
        """Begins anew."""
        self._free_at.clear()


def counted_as(host: str | None) -> str:
    """What a client's address is counted as: itself, or its network. All that have none are one."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:  # a Unix socket, or no address in the header of a proxy
        return ""
    if isinstance(address, IPv4Address) or (address.ipv4_mapped is not None):
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ip_network((address, _NETWORK_BITS), strict=False))
