"""Follows a contestant through its work: measures the window from 10 % done to all done, without start-up."""

import time
from collections.abc import Callable, Sequence

from benchmarks.cpu import Parts, largest_child_mb, look, window
from benchmarks.engine import Node
from benchmarks.servers import Servers

BETWEEN_LOOKS, BETWEEN_MEMORY_LOOKS = 0.02, 0.5  # seconds
PATIENCE = 30.0  # seconds without any progress


class Stalled(RuntimeError):
    """A contestant makes no progress."""


def follow(
    servers: Servers,
    workers: Sequence[Node],
    total: int,
    *,
    done: Callable[[], int],
    all_done: Callable[[], bool] = lambda: True,
) -> dict[str, float]:
    """`rate`, `<part>_us` and `child_mb` of one run.

    `done` counts what the receiver has got, and is cheap. Once everything has arrived, `all_done` says whether the
    contestant has also finished its records. Raises Stalled, or RuntimeError when a contestant ends.
    """
    parts: Parts = {"worker": [worker.pid for worker in workers], **servers.parts}
    watch = _Watch(workers, total, done)
    watch.until(lambda: watch.known >= total / 10)
    first = look(parts, done())
    watch.until(lambda: watch.known >= total)
    watch.until(all_done)
    return {**window(first, look(parts, total)), "child_mb": watch.largest_mb}


class _Watch:
    """Looks at a contestant from time to time: how far it has come, and how much memory it uses."""

    def __init__(self, workers: Sequence[Node], total: int, done: Callable[[], int]) -> None:
        self.known, self.largest_mb = 0, 0.0
        self._workers, self._total, self._done = workers, total, done
        self._progress_at, self._look_at_memory = time.monotonic(), 0.0

    def until(self, reached: Callable[[], bool]) -> None:
        while True:
            self._look(time.monotonic())
            if reached():
                return
            time.sleep(BETWEEN_LOOKS)

    def _look(self, now: float) -> None:
        if (count := self._done()) > self.known:
            self.known, self._progress_at = count, now
        if now > self._progress_at + PATIENCE:
            raise Stalled(f"stalled at {self.known} of {self._total}")
        if now > self._look_at_memory:
            for worker in self._workers:
                worker.check()
                self.largest_mb = max(self.largest_mb, largest_child_mb(worker.pid))
            self._look_at_memory = now + BETWEEN_MEMORY_LOOKS


def wait_for(reached: Callable[[], bool], worker: Node, *, within: float) -> None:
    """Waits until `reached`. Raises Stalled if that takes too long, and RuntimeError if the worker ends."""
    deadline = time.monotonic() + within
    while not reached():
        worker.check()
        if time.monotonic() > deadline:
            raise Stalled(f"the awaited state was not reached within {within:.0f} s")
        time.sleep(BETWEEN_LOOKS)
