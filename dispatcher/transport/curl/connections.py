"""What is known of curl's kept-alive connections: which of them has ended, so that no request may be given to it.

Curl looks itself before it uses one, but not in the first second after it looked, and over HTTP/2 it misses the end of
TLS. So a connection that the receiver has ended is shut down here, as soon as that can be seen: then not one byte of a
request can be written to it, and curl takes another connection for that request.
"""

import os
import socket
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from dispatcher.transport.checks import Origin
from dispatcher.transport.early_closers import EARLY, EarlyClosers

Ends: TypeAlias = tuple[str, int, str, int]  # the local address and port, then the receiver's
_SO_PEERNAME = 28  # of Linux
_MOST = 4096  # connections; the ones used longest ago are forgotten
_MOST_LOOKS = 8  # at an idle connection: on one that may be used again little comes
_PEEKED = 4096  # bytes
_RECORD_HEAD = 5  # bytes of a TLS record before what it carries
_ALERT, _DATA = bytes([21]), bytes([23])  # kinds of TLS records
_SEALED_ALERT = 2 + 1 + 16  # bytes: TLS 1.3 sends alerts as data, and a frame of HTTP/2 is longer


class _Used(NamedTuple):
    origin: Origin
    until: float  # monotonic
    http2: bool
    looks: int = 0  # at what came since


class KeptConnections:
    """Connections by both their ends, which curl tells for each request: connections to several receivers may have one
    local address. `now` is monotonic."""

    def __init__(self) -> None:
        self._known: dict[Ends, _Used | None] = {}  # None: it has ended, and was shut down here
        self._closers = EarlyClosers()

    def opened(self, ends: Ends) -> None:
        """It is a new one: what was known of these ends was about another."""
        self._known.pop(ends, None)

    def used(self, ends: Ends, origin: Origin, now: float, *, http2: bool) -> None:
        """An answer came on it."""
        self._known.pop(ends, None)
        self._known[ends] = _Used(origin, now, http2)
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def lost(self, ends: Ends, now: float) -> None:
        """It ended without an answer, though it was used before."""
        used = self._known.get(ends)
        if used is not None and not used.http2:
            self._closers.add(used.origin, now)

    def has_ended(self, ends: Ends) -> bool:
        """Whether it was shut down here, so that nothing can have been written to it since."""
        return self._known.get(ends, self) is None

    def one_request_each(self, origin: Origin, now: float) -> bool:
        """Whether connections to it must not be used again."""
        return self._closers.has(origin, now)

    def look(self, descriptor: int, now: float, *, ended: bool) -> None:
        """Something came on an idle connection, or it `ended`: shuts it down, unless it can be used nevertheless."""
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as idle:
            ends = ends_of(idle)
            used = self._known.get(ends)
            may_say_more = not ended and used is not None and used.http2 and used.looks < _MOST_LOOKS
            if used is not None and may_say_more and _is_passable(idle):
                self._known[ends] = used._replace(looks=used.looks + 1)
                return  # over HTTP/2 something may come at any time
            if used is not None and not used.http2 and now < used.until + EARLY:
                self._closers.add(used.origin, now)
            self._end(idle, ends)

    def cut(self, descriptor: int) -> None:
        """Shuts a connection down whose receiver sends without end."""
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            self._end(connection, ends_of(connection))

    def _end(self, connection: socket.socket, ends: Ends) -> None:
        self._known[ends] = None
        connection.shutdown(socket.SHUT_RDWR)
        while connection.recv(65536, socket.MSG_DONTWAIT):  # or it would be taken for the next request's answer
            pass


def ends_of(connection: socket.socket) -> Ends:
    """The ends of a connection, as curl tells them."""
    host, port, *_ = connection.getsockname()
    try:
        peer, peer_port, *_ = connection.getpeername()
    except OSError:  # it was reset, and the system still knows
        size, start, end = (28, 8, 24) if connection.family == socket.AF_INET6 else (16, 4, 8)  # struct sockaddr_in
        name = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERNAME, size)
        peer, peer_port = socket.inet_ntop(connection.family, name[start:end]), int.from_bytes(name[2:4])
    return host, port, peer, peer_port


def _is_passable(idle: socket.socket) -> bool:
    """Whether curl finds out by itself what has come over TLS: it reads one record before it uses the connection. An
    alert, which it misses, can only be the end of TLS between two requests."""
    records = idle.recv(_PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    kind, size = records[:1], int.from_bytes(records[3:_RECORD_HEAD])
    is_alert = kind == _ALERT or (kind == _DATA and size == _SEALED_ALERT)
    return not is_alert and len(records) <= _RECORD_HEAD + size
