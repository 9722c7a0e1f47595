"""Pure. Whether we can talk to the world: whom TLS trusts, and how a handshake ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dispatcher.diagnosis.findings import Finding, fail, ok, span, warn

_ENDS_SOON = timedelta(days=14)


def trust(place: str, ends: Sequence[datetime], now: datetime) -> Finding:
    """`ends`: until when each certificate is valid; none: it is a folder, in which they are looked up by name."""
    if not ends:
        return ok(f"authorities are looked up in {place}")
    left = sum(end > now for end in ends)
    if not left:
        return fail(f"all authorities in {place} have expired", "install the system's newest ca-certificates")
    expired = f", {len(ends) - left} more have expired" if left < len(ends) else ""
    return ok(f"{left} {'authority' if left == 1 else 'authorities'} in {place}{expired}")


class Handshake(NamedTuple):
    """How one ended. `failed`: why, in our words; `refused`: it is for the certificate."""

    host: str
    protocol: str = ""
    ends: datetime | None = None
    failed: str = ""
    refused: bool = False


def handshake(made: Handshake, now: datetime, *, is_asked: bool) -> Finding:
    """`is_asked`: for a host that the operator names; otherwise it is our own, and perhaps not seen from here."""
    if made.refused:
        advice = "if other hosts are accepted, it is that host's; else look at DISPATCHER_CA_BUNDLE and the clock"
        return fail(f"its certificate is not accepted: {made.failed}", advice, where=made.host)
    if made.failed:
        if is_asked:
            return fail(
                f"no handshake: {made.failed}", "look at the resolver, the way out and the firewall", where=made.host
            )
        advice = "if it is not to be reached from here, try another one: `dispatcher doctor --handshake HOST`"
        return warn(f"no handshake with the public URL's host: {made.failed}", advice, where=made.host)
    if made.ends is not None and made.ends - now < _ENDS_SOON:
        left = span((made.ends - now).total_seconds())
        return warn(f"its certificate ends in {left}", "renew it, if it is yours", where=made.host)
    return ok(f"{made.host}: {made.protocol}, and its certificate is accepted")
