"""How a warm shutdown reaches the loops inside the children: a byte of memory that they share with the main process
says it, and a pipe ends their waiting.

Not an Event: a child that is killed while it holds the Event's lock would block the main process forever.
"""

import os

from workers.shared_memory import STOPS, main_process, pipe, told


def ask_to_stop() -> None:
    """Asks every loop of this worker to end."""
    told()[STOPS] = 1
    descriptor = pipe()
    if descriptor is not None:
        os.write(descriptor, b"\0")


def is_stopping() -> bool:
    """Whether the worker is shutting down, or its main process has died: nobody could stop this child any more."""
    return told()[STOPS] == 1 or main_process() not in {0, os.getpid(), os.getppid()}


def stop_descriptors() -> frozenset[int]:
    """What becomes readable when the worker shuts down. Nothing once it does: it stays readable."""
    descriptor = pipe()
    return frozenset() if descriptor is None or is_stopping() else frozenset({descriptor})
