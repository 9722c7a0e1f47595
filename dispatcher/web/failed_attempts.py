"""Pure. How many secrets that are not valid an address has shown of late.

An IPv6 address counts with its network of 64 bits, for whoever has one address has all of it. Many have 48 bits, which
are 65,536 such networks, so these count together, too. There may also be many subscribers of one provider in them:
together they may fail ten times as often. A valid secret is never refused, whoever else has failed.
"""

from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network
from math import ceil

PER_MINUTE = 60
_MOST_ADDRESSES = 10_000  # the ones that failed longest ago are forgotten
_NETWORK_BITS, _WIDE_BITS = 64, 48  # of IPv6
PER_MINUTE_WIDE = 10 * PER_MINUTE


class FailedAttempts:
    """Each address, as `counted_as` has it, may fail `PER_MINUTE` times at once, and once more each second; a network
    of 48 bits ten times as often. `now` is monotonic."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when nothing will be left of its failures

    def add(self, address: str, now: float) -> None:
        """Counts a failure."""
        for counted, per_minute in _limits(address):
            free_at = max(self._free_at.pop(counted, now), now) + 60 / per_minute
            self._free_at[counted] = min(free_at, now + 2 * 60)  # who goes on is told to wait for a minute
        while len(self._free_at) > _MOST_ADDRESSES:
            self._free_at.popitem(last=False)

    def seconds_to_wait(self, address: str, now: float) -> int:
        """0, or how long until a failure is again within the limit."""
        free_at = max(self._free_at.get(counted, now) for counted, _ in _limits(address))
        return max(0, ceil(free_at - now - 60))

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


def _limits(address: str) -> Sequence[tuple[str, int]]:
    """What its failures count for, with how many each may have in a minute."""
    if "/" not in address:
        return [(address, PER_MINUTE)]
    wide = str(IPv6Network(address).supernet(new_prefix=_WIDE_BITS))
    return [(address, PER_MINUTE), (wide, PER_MINUTE_WIDE)]
