"""The lock on a server's folder, shared with the server itself: free only when no process uses the folder."""

import fcntl
import os
import time
from pathlib import Path

from dispatcher.embedded.errors import DataInUse


class Occupancy:
    """An exclusive lock on a file. A server that inherits `fd` still holds it after our own death.

    So a lock that can be taken proves that no server of an earlier run is alive, whatever pid files say.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The open file to hand to the server."""
        assert self._fd is not None, "the lock is not held"
        return self._fd

    def acquire(self, *, within: float) -> None:
        """Take the lock. Raises DataInUse: at once if its holder lives, after `within` seconds if only its server
        does."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + within
        while not _locked(fd):
            holder = _pid_in(self._path)
            # A server whose engine was killed is about to end: wait for it.
            if _is_alive(holder) or time.monotonic() > deadline:
                os.close(fd)
                raise DataInUse(self._path.parent, holder)
            time.sleep(0.05)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        """Release our share of the lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(path: Path) -> int | None:
    text = path.read_text().strip()
    return int(text) if text.isdecimal() else None


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
