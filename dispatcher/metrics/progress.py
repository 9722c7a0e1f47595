"""Whether the main loop of this process still turns: systemd is told, and who asks on a health path is answered by it.

What a process needs from others, such as its database, says nothing here: a loop that waits for it turns all the same.
"""

import mmap
import os
import socket
from contextlib import suppress
from time import monotonic

STANDS_AFTER = 120.0  # seconds without a turn; longer than any stop may take, and `WatchdogSec=` of the units
TELL_EVERY = 10.0
_TURNED, _READY = 0, 1


class Progress:
    """Of one process. A process that forks others makes theirs, and sees what they note: the memory is shared."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")
        self._tell_at = 0.0
        self.note()

    def note(self) -> None:
        """The loop turns, or is about to."""
        self._cells[_TURNED] = monotonic()

    def turned(self) -> None:
        """As `note`; systemd is told, too, not more often than it needs."""
        self.note()
        if (now := self._cells[_TURNED]) >= self._tell_at:
            self._tell_at = now + TELL_EVERY
            _tell("WATCHDOG=1")

    def begin(self) -> None:
        """The process does its work from now on."""
        self._cells[_READY] = 1.0
        _tell("READY=1")

    @property
    def is_ready(self) -> bool:
        return self._cells[_READY] == 1.0

    @property
    def stands(self) -> bool:
        return monotonic() - self._cells[_TURNED] > STANDS_AFTER


_own: Progress | None = None


def own() -> Progress:
    """This process's, from its first use on."""
    global _own  # noqa: PLW0603 - made once
    if _own is None:
        _own = Progress()
    return _own


def take_over(progress: Progress) -> None:
    """In a forked process: this one is its own, and the process that forked it tells systemd about both."""
    global _own  # noqa: PLW0603 - set once, before the first use
    os.environ.pop("NOTIFY_SOCKET", None)
    _own = progress


def _tell(state: str) -> None:
    """As libsystemd's `sd_notify`. Without systemd nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.setblocking(False)
        connection.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
