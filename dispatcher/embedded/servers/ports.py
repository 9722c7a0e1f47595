"""Finds free TCP ports on 127.0.0.1."""

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that was free a moment ago. Another program may take it first: callers must be ready to ask again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now (lingering closed connections do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def preferred_port(port: int, *, taken: frozenset[int] = frozenset()) -> int:
    """The preferred port, or a free one if it is taken."""
    if port not in taken and is_free(port):
        return port
    while (other := free_port()) in taken:
        pass
    return other
