"""Follows a contestant through its work: the window from 10 % to all done, start-up left out."""

import time
from collections.abc import Callable

from benchmarks.cpu import Parts, largest_child_mb, look, window
from benchmarks.engine import Node
from benchmarks.servers import Servers

BETWEEN_LOOKS, BETWEEN_MEMORY_LOOKS = 0.02, 0.5  # seconds


class Stalled(RuntimeError):
    """A contestant did not end its work in time."""


def wait_for(reached: Callable[[], bool], worker: Node, *, within: float) -> None:
    """Raises Stalled if it does not happen in time, and RuntimeError if the worker ends."""
    deadline = time.monotonic() + within
    while not reached():
        worker.check()
        if time.monotonic() > deadline:
            raise Stalled(f"it did not happen within {within:.0f} s")
        time.sleep(BETWEEN_LOOKS)


def follow(
    servers: Servers,
    workers: list[Node],
    total: int,
    *,
    done: Callable[[], int],
    all_done: Callable[[], bool] = lambda: True,
    within: float = 300,
) -> dict[str, float]:
    """`rate`, `<part>_us` and `child_mb` of one run.

    `done` counts what has come to the receiver and is cheap; `all_done` says, once everything has come, whether the
    contestant has finished its records, too. Raises Stalled, or RuntimeError when a contestant ends.
    """
    parts: Parts = {"worker": [worker.pid for worker in workers], **servers.parts}
    deadline = time.monotonic() + within
    largest, look_at_memory = 0.0, 0.0

    def wait_for(reached: Callable[[], bool]) -> None:
        nonlocal largest, look_at_memory
        while not reached():
            now = time.monotonic()
            if now > look_at_memory:
                for worker in workers:
                    worker.check()
                    largest = max(largest, largest_child_mb(worker.pid))
                look_at_memory = now + BETWEEN_MEMORY_LOOKS
            if now > deadline:
                raise Stalled(f"{done()} of {total} done within {within:.0f} s")
            time.sleep(BETWEEN_LOOKS)

    wait_for(lambda: done() >= total / 10)
    first = look(parts, done())
    wait_for(lambda: done() >= total)
    wait_for(all_done)
    return {**window(first, look(parts, total)), "child_mb": largest}
