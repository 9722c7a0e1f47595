"""A loop in a thread, and waiting for what it brings about."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dispatcher.settings import Settings
from tests.factories import deliver_all


@contextmanager
def looping(settings: Settings) -> Iterator[list[dict[str, int]]]:
    """A loop in a thread, which ends when nothing is due; its result."""
    results: list[dict[str, int]] = []
    loop = threading.Thread(target=lambda: results.append(deliver_all(settings)))
    loop.start()
    try:
        yield results
    finally:
        loop.join(30)
    assert not loop.is_alive()


def seconds_until(condition: Callable[[], object]) -> float:
    """Waits until it is so; returns how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + 20, "did not happen in 20 s"
        time.sleep(0.01)
    return time.monotonic() - began
