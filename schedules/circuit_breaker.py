"""The circuit breaker of a webhook that keeps failing: when it opens, and when a trial request is made. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from schedules.retry import RetrySchedule
from schedules.timing import Timing

MOST_COUNTED = 1_000_000
MIN_SPAN = timedelta(minutes=1)  # shorter than this is a restart of the receiver, not an outage


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The failures of a webhook whose last attempt failed. The circuit is open (nothing is sent) once `opened_at` is
    set. Then one trial request at a time is made, the next at `trial_at` or later; `trials` counts the delays of the
    schedule that were used."""

    failures: int  # requests in a row
    failing_since: datetime
    opened_at: datetime | None = None
    trials: int = 0
    trial_at: datetime | None = None


def after_failures(
    breaker: CircuitBreaker | None,
    failures: int,
    *,
    trial_failed: bool,
    threshold: int,
    schedule: RetrySchedule,
    now: datetime,
    timing: Timing,
) -> CircuitBreaker:
    """The breaker after `failures` more requests failed and none succeeded.

    It opens after `threshold` failures in a row that span at least a minute. Trial requests follow the webhook's retry
    schedule from the moment it opened, and continue at its last delay. Requests that were in flight when it opened, and
    those that a person asked for, are not trials: they only add to `failures`.
    """
    breaker = breaker or CircuitBreaker(failures=0, failing_since=now)
    breaker = replace(breaker, failures=_count(breaker.failures, failures))
    if breaker.opened_at is None:
        if breaker.failures < threshold or now - breaker.failing_since < timing.span(MIN_SPAN):
            return breaker
        breaker = replace(breaker, opened_at=now)
    elif not trial_failed:
        return breaker
    step = min(max(breaker.trials, 0), len(schedule.delays) - 1)
    return replace(breaker, trials=_count(breaker.trials, 1), trial_at=now + schedule.delays[step])


def _count(counted: int, more: int) -> int:
    """The sum, as far as it is counted: whatever a row holds, the next one can be written."""
    return min(max(counted, 0) + more, MOST_COUNTED)
