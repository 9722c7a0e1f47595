"""A delivery loop that does one step when a test tells it to, and what it has in flight."""

import mmap
from collections import deque
from datetime import UTC, datetime, timedelta

from dispatcher.settings import Settings
from dispatcher.transport.exchange import Exchange, Failure, Reply, Request
from dispatcher.wake import DELIVER
from tests.installations import worker_for
from workers.claims.claims import Attempt
from workers.journal import Journal
from workers.loop import DeliveryLoop
from workers.recovery import recover


class InFlight:
    """A transport that sends nothing: a test ends what is in flight."""

    capacity = 8

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}

    def send(self, request: Request) -> None:
        self.requests[request.id] = request

    def limit_addresses(self, most: int) -> None:
        """There are none."""

    def shrink(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        self.requests.clear()


class SteppedLoop:
    """A delivery loop that does one step when it is told to, in a child whose journal outlives it."""

    def __init__(self, settings: Settings, task: str = DELIVER) -> None:
        self._settings, self._task = settings, task
        self._begin(mmap.mmap(-1, 64 * 1024))

    def _begin(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._worker = worker_for(self._settings)
        self.transport = InFlight()
        self._worker.__dict__.update(transport=self.transport, journal=Journal(memory))
        recover(self._worker.loop_engine, self._worker.journal, self._worker.installation.waker)
        self.loop = DeliveryLoop(self._worker, self._task)
        self._worker.journal.begin(self.loop._claimer.id)

    def send(self) -> list[Attempt]:
        """What it sent."""
        before = set(self.loop._in_flight)
        self.loop._send()
        return [
            claim.attempt
            for request, batch in self.loop._in_flight.items()
            if request not in before
            for claim in batch.claims
        ]

    def answer(self, place: int, outcome: Reply | Failure) -> list[Attempt]:
        """Ends a request; returns whose it was."""
        request = list(self.transport.requests.values())[place % len(self.transport.requests)]
        del self.transport.requests[request.id]
        claims = self.loop._in_flight[request.id].claims
        self.loop._end(Exchange(request, outcome, datetime.now(UTC), timedelta(seconds=1)))
        return [claim.attempt for claim in claims]

    def write(self) -> None:
        self.loop._results._group_at = 0.0
        self.loop._write()

    def pass_time(self, seconds: float) -> None:
        """What it knows to be over by then it does not begin."""
        self.loop._unsent = deque(batch._replace(claims_end=batch.claims_end - seconds) for batch in self.loop._unsent)

    def die(self, *, node: bool, stuck: bool) -> None:
        """Another one takes its place: in the same node, or in a new one, which knows nothing of it."""
        if stuck:
            self._worker.journal.was_stuck()
        self._begin(mmap.mmap(-1, 64 * 1024) if node else self._memory)
