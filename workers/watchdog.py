"""The watchdog of a worker child: a child that makes no progress for longer than it may ends at once, and the one that
takes its place says where it stood.

It is a thread of the interpreter's own that runs no Python. So it also ends a child that a regular expression, or a
library's call, keeps from running anything.
"""

import faulthandler
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic

from workers.shared_memory import open_stacks

LOOP_SECONDS = 120.0  # as long as a claim lasts: then others may make the attempts of a loop that stands
TASK_SECONDS = 600.0  # a whole run of another task, which limits itself: to less, with its last statement or mail
_NOTES = 20  # in that time, how often progress is noted: doing so starts a thread
_MOST_READ = 64 * 1024  # bytes


class Watchdog:
    """Of the child with this index in the pool. Without a main process it watches nothing."""

    def __init__(self, child: int) -> None:
        self._file = open_stacks(child)
        self._start = 0 if self._file is None else os.lseek(self._file, 0, os.SEEK_CUR)
        self._bound, self._note_at = 0.0, inf

    @contextmanager
    def watching(self, seconds: float) -> Iterator[None]:
        """Within the block, progress has to be made in any `seconds`."""
        if self._file is None:
            yield
            return
        self._bound, self._note_at = seconds, 0.0
        self.progressed()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._note_at = inf

    def progressed(self) -> None:
        """A step has ended, and its time begins again."""
        now = monotonic()
        if now >= self._note_at and self._file is not None:
            self._note_at = now + self._bound / _NOTES
            faulthandler.dump_traceback_later(self._bound, exit=True, file=self._file)

    def left(self) -> str:
        """Where the main thread of the child before stood, if its watchdog ended it; else an empty text. It is
        forgotten then. It has no values, only files, lines and functions, the last call first."""
        if self._file is None:
            return ""
        found = os.pread(self._file, _MOST_READ, self._start).partition(b"\0")[0]
        os.pwrite(self._file, bytes(len(found)), self._start)
        return re.split(r"^(?:Current t|T)hread .*\n", found.decode(errors="replace"), flags=re.MULTILINE)[-1]
