"""Which addresses are this machine's own, or this container's. The system is asked each time: interfaces change."""

import socket

_NOBODYS = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # for documentation: no machine has it


def is_own(address: str) -> bool:
    """Whether a numeric address belongs to one of the interfaces."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if not _can_bind(family, address):
        return False
    # Where the system lets sockets have any address (`ip_nonlocal_bind`, for addresses that move between machines),
    # the route tells: what is sent to an own address comes from that address.
    return not _can_bind(family, _NOBODYS[family]) or _source(family, address) == address


def _can_bind(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _source(family: socket.AddressFamily, address: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            source: str = probe.getsockname()[0]
    except OSError:
        return None
    return source
