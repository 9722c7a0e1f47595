"""A retry schedule: a finite list of delays, each counted from the end of the failed attempt."""

from dataclasses import dataclass
from datetime import timedelta

RETRY_AFTER_CAP = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """`delays[n]` is the wait after the (n+1)th failed attempt; after the last one the delivery is exhausted."""

    name: str
    delays: tuple[timedelta, ...]

    @property
    def span(self) -> timedelta:
        """The sum of all delays: how long a delivery is retried, counted from when it was opened."""
        return sum(self.delays, timedelta())

    def delay(self, step: int, *, retry_after: timedelta | None = None) -> timedelta | None:
        """The wait before the retry of `step` (0 for the first), or None when the schedule is used up.

        `retry_after` is what the receiver asked for, where that is honoured. It can lengthen the wait to an hour at
        most, and never shortens it.
        """
        if step >= len(self.delays):
            return None
        scheduled = self.delays[max(step, 0)]
        return scheduled if retry_after is None else max(scheduled, min(retry_after, RETRY_AFTER_CAP))
