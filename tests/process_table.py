"""The processes below a process: its descendants, their command lines, and where they listen."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable

import psutil


def descendants(pid: int) -> list[psutil.Process]:
    """All children of a process, and their children, whatever their session or group."""
    return psutil.Process(pid).children(recursive=True)


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes that still run (a zombie does not)."""
    return [process for process in processes if process.is_running() and _status(process) != psutil.STATUS_ZOMBIE]


def command_lines() -> str:
    """What every account of the machine can read about the arguments of this process and its descendants."""
    lines = []
    for process in [psutil.Process(), *descendants(os.getpid())]:
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return "\n".join(lines)


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Where a process and its descendants listen."""
    found = set()
    for process in [psutil.Process(pid), *descendants(pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # ended while we look
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((connection.laddr.ip, connection.laddr.port))
    return found


def eventually(claim: Callable[[], bool], *, within: float = 30.0) -> bool:
    """Whether the claim becomes true; the limit only bounds a failure."""
    deadline = time.monotonic() + within
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)
