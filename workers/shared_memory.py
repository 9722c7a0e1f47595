"""What the main process of a worker shares with its children: bytes that tell them something, a journal, a place for a
stack and numbers that are shown for each child, which outlive it, and a pipe that has them look at the bytes.

The memory is a file that all of them map, and the pipe is a named one. Forked children have both open already; where
they are started anew (macOS), they find them by an environment variable. Nothing is written to wait for: a process that
is killed leaves what it wrote.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from billiard import get_start_method

JOURNAL_BYTES = 8 * 1024 * 1024  # of one child; only what was written once takes memory
VARIABLE = "_DISPATCHER_SHARED_MEMORY"  # not a setting: set by the main process for its children
_CELLS_BYTES = 64 * 1024
# Its journal, then the stack where its watchdog ended it, then what it counts, in the last 64 KiB.
_CHILD_BYTES = 2 * JOURNAL_BYTES
_HEAD = 64 * 1024  # the bytes that tell something, in whole pages of any system
STOPS, PARKS = 0, 1  # which byte tells what
_MAIN = slice(8, 16)  # the main process's id; 0 if nothing is shared
STOPPED_AT = slice(16, 24)  # when that byte was set, in monotonic nanoseconds, which are the same in all processes

_file: int | None = None  # the file, in the main process and forked children
_pipe: int | None = None  # the pipe, likewise


def share() -> None:
    """Makes the memory and the pipe, in the main process before it has children."""
    global _file, _pipe
    file, path = tempfile.mkstemp(prefix="dispatcher-worker-")
    os.mkfifo(_pipe_beside(path), 0o600)
    _file, _pipe = file, _open_pipe(path)
    told()[_MAIN] = os.getpid().to_bytes(8)
    if get_start_method() == "fork":
        _remove(path)  # so that nothing is left of a worker that is killed
    else:
        os.environ[VARIABLE] = path


def forget() -> None:
    """Removes the files; who has opened them keeps them. In this process nothing is shared any more."""
    global _file, _pipe  # noqa: PLW0603 - as `share` sets them
    _file = _pipe = None
    path = os.environ.pop(VARIABLE, None)
    if path is not None:
        _remove(path)


@cache
def told() -> mmap.mmap:
    """The page whose first bytes tell something. Of this process alone if nothing is shared."""
    return _mapped(0, mmap.PAGESIZE)


def main_process() -> int:
    """Its id. 0 if nothing is shared."""
    return int.from_bytes(told()[_MAIN])


@cache
def pipe() -> int | None:
    """The descriptor of the pipe. What is written to it is never read, so it stays readable for all. None if nothing is
    shared."""
    path = os.environ.get(VARIABLE)
    if _pipe is None and path is not None:
        with suppress(FileNotFoundError):  # the main process has ended
            return _open_pipe(path)
    return _pipe


def journal_of(child: int) -> mmap.mmap:
    """The journal's memory of the child with this index in the pool. A child that dies is followed by one with its
    index. Of this process alone if nothing is shared."""
    return _mapped(_HEAD + child * _CHILD_BYTES, JOURNAL_BYTES)


def cells_of(child: int) -> "memoryview[float]":
    """Numbers that the child with this index in the pool counts with, likewise."""
    return memoryview(_mapped(_HEAD + (child + 1) * _CHILD_BYTES - _CELLS_BYTES, _CELLS_BYTES)).cast("d")


def open_stacks(child: int) -> int | None:
    """A descriptor of this child's own, at the place for its stack. None if nothing is shared."""
    path = os.environ.get(VARIABLE)
    if _file is not None:
        path = f"/proc/self/fd/{_file}"  # opened anew, it has a position of its own
    if path is None:
        return None
    file = os.open(path, os.O_RDWR)
    os.lseek(file, _HEAD + child * _CHILD_BYTES + JOURNAL_BYTES, os.SEEK_SET)
    return file


def _pipe_beside(path: str) -> str:
    return f"{path}.pipe"


def _open_pipe(path: str) -> int:
    # Both ends: opening one of them would wait for the other.
    return os.open(_pipe_beside(path), os.O_RDWR | os.O_NONBLOCK)


def _remove(path: str) -> None:
    for each in (path, _pipe_beside(path)):
        Path(each).unlink(missing_ok=True)


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
