"""The gate of a webhook that keeps failing: when it closes, and when a probe may try it again. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from schedules.retry import RetrySchedule
from schedules.timing import Timing

LEAST_SPAN = timedelta(minutes=1)  # failures of a shorter time are a restart of the receiver, not an outage


@dataclass(frozen=True, slots=True)
class Gate:
    """What is known of a webhook whose last attempt failed. Closed once `closed_at` is set: from then on one probe at
    a time, the next from `probe_at` on; `probes` counts how many delays of the schedule that took."""

    failures: int  # requests in a row
    failing_since: datetime
    closed_at: datetime | None = None
    probes: int = 0
    probe_at: datetime | None = None


def after_failures(
    gate: Gate | None,
    failures: int,
    *,
    probe_failed: bool,
    threshold: int,
    schedule: RetrySchedule,
    now: datetime,
    timing: Timing,
) -> Gate:
    """The gate after `failures` more requests failed and none succeeded.

    It closes after `threshold` failures in a row that span a minute. Probes follow the webhook's retry schedule, from
    the failure that closed it, and go on at its last delay. Requests that were in flight when it closed, and those a
    person asked for, are no probes: they move nothing.
    """
    gate = gate or Gate(failures=0, failing_since=now)
    gate = replace(gate, failures=gate.failures + failures)
    if gate.closed_at is None:
        if gate.failures < threshold or now - gate.failing_since < timing.span(LEAST_SPAN):
            return gate
        gate = replace(gate, closed_at=now)
    elif not probe_failed:
        return gate
    step = min(gate.probes, len(schedule.delays) - 1)
    return replace(gate, probes=gate.probes + 1, probe_at=now + schedule.delays[step])
