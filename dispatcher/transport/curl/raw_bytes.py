"""What comes on curl's connections while answers are awaited, whatever it is: curl tells of heads and bodies, and
nothing of chunk extensions, padding, or frames that it skips. So the kernel is asked, which counts all bytes.

An ordinary answer is one or two reads, and costs nothing here.
"""

import fcntl
import os
import socket
import struct
import termios
from typing import NamedTuple

from dispatcher.transport.curl.connections import Ends, ends_of
from dispatcher.transport.port import HASTY_READS

_FREE_READS = 3  # of one answer, before the kernel is asked
_RECEIVED_AT = 128  # `tcpi_bytes_received` in `struct tcp_info` of Linux, which only ever grows at its end
_RECEIVED = struct.Struct("=Q")
_INFO_SIZE = _RECEIVED_AT + _RECEIVED.size
_UNREAD = struct.Struct("=i")


class Look(NamedTuple):
    """What was found out about a connection: how many bytes were read since the last answer on it, and whether it is
    read far more often than an answer needs."""

    ends: Ends
    came: int
    is_hasty: bool


class RawBytes:
    """Counts the reads of each connection, by its descriptor, and looks at those that need many for one answer."""

    def __init__(self) -> None:
        self._reads: dict[int, int] = {}
        self._before: dict[int, tuple[Ends, int]] = {}  # bytes that were read before they were counted
        self._descriptors: dict[Ends, int] = {}  # of these connections

    def read(self, descriptor: int, *, leaves_some: bool) -> Look | None:
        """Curl has read from it, and may have left some of what is there. None as long as there is no need to look."""
        reads = self._reads[descriptor] = self._reads.get(descriptor, 0) + 1
        if reads <= _FREE_READS and not leaves_some:
            return None
        try:
            ends, came = consumed(descriptor)
        except OSError:  # curl has closed it
            return None
        _, before = self._before.setdefault(descriptor, (ends, came))
        self._descriptors[ends] = descriptor
        return Look(ends, came - before, reads > HASTY_READS)

    def answered(self, ends: Ends) -> None:
        """An answer on this connection has ended: its reads and bytes are counted anew."""
        if self._descriptors and (descriptor := self._descriptors.get(ends)) is not None:
            self.idle(descriptor)

    def idle(self, descriptor: int) -> None:
        """Nothing is awaited on it any more."""
        self._reads.pop(descriptor, None)
        if (before := self._before.pop(descriptor, None)) is not None:
            self._descriptors.pop(before[0], None)


def consumed(descriptor: int) -> tuple[Ends, int]:
    """The ends of a connection, and how many bytes were read from it: what came, less what waits to be read.
    0 where the system does not count them."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        ends = ends_of(connection)
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE) if _COUNTS else b""
        if len(info) < _INFO_SIZE:
            return ends, 0
        unread = _UNREAD.unpack(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_UNREAD.size)))[0]
        return ends, _RECEIVED.unpack_from(info, _RECEIVED_AT)[0] - unread


_COUNTS = hasattr(socket, "TCP_INFO")
