"""A parked delivery loop in a thread of the test, and what a test wants to know about it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dispatcher.settings import Settings
from tests.installations import worker_for
from workers import loop as deliver
from workers.loop import DeliveryLoop


class ParkedLoop:
    """Runs until it is stopped. `claims` counts its claims, `rings` how often it was told of something."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self.worker = worker_for(settings)
        self.loop = DeliveryLoop(self.worker)
        assert self.loop._bell is not None
        self.bell = self.loop._bell
        self.claims = self.rings = 0
        self._claim, self._look_again, self._stop = self.loop._claim, self.loop._look_again, stop
        self.loop._claim = self._counted_claim  # type: ignore[method-assign]
        self.loop._look_again = self._counted_ring  # type: ignore[method-assign]
        self.counts: dict[str, int] = {}
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _counted_claim(self) -> None:
        self.claims += 1
        self._claim()

    def _counted_ring(self) -> None:
        self.rings += 1
        self._look_again()

    def _run(self) -> None:
        try:
            self.counts = self.loop.run()
        except Exception as error:  # noqa: BLE001 - raised where the test ends
            self.error = error

    @property
    def is_parked(self) -> bool:
        """Nothing is on its way, and a ring would reach it."""
        return self.loop._is_idle() and self.loop._pace.nothing_due and self.bell._asked_at is not None

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.worker.drop_transport()
        if self.error is not None:
            raise self.error


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits for what another thread or process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {seconds} s"
        time.sleep(0.005)


@contextmanager
def parked_loops(monkeypatch: pytest.MonkeyPatch, settings: Settings, count: int = 1) -> Iterator[list[ParkedLoop]]:
    """So many loops that stay, all parked."""
    stop = threading.Event()
    monkeypatch.setattr(deliver, "loops_stay", lambda: True)
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    loops: list[Any] = []
    try:
        for _ in range(count):
            loops.append(ParkedLoop(settings, stop))
            until(lambda: loops[-1].is_parked)
        yield loops
    finally:
        stop.set()
        for loop in loops:
            loop.end()
