"""Memory that the main process of a worker shares with its children: one byte that asks them to stop, and a journal for
each child, which outlives it.

It is a file that all of them map. Forked children have it open already; where they are started anew (macOS), they find
it by an environment variable. Nothing is written to wait for: a process that is killed leaves what it wrote.
"""

import mmap
import os
import tempfile
from functools import cache
from pathlib import Path

from billiard import get_start_method

JOURNAL_BYTES = 8 * 1024 * 1024  # of one child; only what was written once takes memory
VARIABLE = "_DISPATCHER_SHARED_MEMORY"  # not a setting: set by the main process for its children
_HEAD = 64 * 1024  # the stop byte, in whole pages of any system

_file: int | None = None  # the file, in the main process and forked children


def share() -> None:
    """Makes the memory, in the main process before it has children."""
    global _file
    _file, path = tempfile.mkstemp(prefix="dispatcher-worker-")
    if get_start_method() == "fork":
        Path(path).unlink()  # so that nothing is left of a worker that is killed
    else:
        os.environ[VARIABLE] = path


def forget() -> None:
    """Removes the file; who has mapped it keeps the memory."""
    path = os.environ.pop(VARIABLE, None)
    if path is not None:
        Path(path).unlink(missing_ok=True)


@cache
def stop_byte() -> mmap.mmap:
    """The page whose first byte is 1 once the worker shuts down. Of this process alone if nothing is shared."""
    return _mapped(0, mmap.PAGESIZE)


def journal_of(child: int) -> mmap.mmap:
    """The journal's memory of the child with this index in the pool. A child that dies is followed by one with its
    index. Of this process alone if nothing is shared."""
    return _mapped(_HEAD + child * JOURNAL_BYTES, JOURNAL_BYTES)


def _mapped(start: int, length: int) -> mmap.mmap:
    if _file is not None:
        return _part_of(_file, start, length)
    path = os.environ.get(VARIABLE)
    if path is None:
        return mmap.mmap(-1, length)
    file = os.open(path, os.O_RDWR)
    try:
        return _part_of(file, start, length)
    finally:
        os.close(file)


def _part_of(file: int, start: int, length: int) -> mmap.mmap:
    # Only ever makes the file longer, whoever comes first: it has holes, and no process cuts another's part off.
    if os.fstat(file).st_size < start + length:
        os.pwrite(file, b"\0", start + length - 1)
    return mmap.mmap(file, length, offset=start)
