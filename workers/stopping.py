"""How a warm shutdown reaches the loops inside the children: a byte of memory that they share with the main process
says it, and a pipe ends their waiting.

Not an Event: a child that is killed while it holds the Event's lock would block the main process forever.
"""

import os
from math import inf
from time import monotonic_ns

from workers.shared_memory import STOPPED_AT, STOPS, main_process, pipe, told


def ask_to_stop() -> None:
    """Asks every loop of this worker to end."""
    if not told()[STOPS]:
        told()[STOPPED_AT] = monotonic_ns().to_bytes(8)
    told()[STOPS] = 1
    descriptor = pipe()
    if descriptor is not None:
        os.write(descriptor, b"\0")


def is_stopping() -> bool:
    """Whether the worker is shutting down, or its main process has died: nobody could stop this child any more."""
    return told()[STOPS] == 1 or main_process() not in {0, os.getpid(), os.getppid()}


def asked_at() -> float:
    """When the loops were asked to end, in monotonic seconds. `inf` if they were not."""
    return int.from_bytes(told()[STOPPED_AT]) / 1e9 if told()[STOPS] == 1 else inf


def stop_descriptors() -> frozenset[int]:
    """What becomes readable when the worker shuts down. Nothing once it does: it stays readable."""
    descriptor = pipe()
    return frozenset() if descriptor is None or is_stopping() else frozenset({descriptor})
