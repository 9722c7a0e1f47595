"""What happens to a delivery after an attempt, decided from the judgement, the schedule and the clock. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from dispatcher.deliveries.deaths import ALONE, MOST
from dispatcher.states import Reason
from dispatcher.webhooks.contract import Verdict
from schedules.retry import RetrySchedule
from workers.results.classify import Judgement, NotAttempted

UNKNOWN_PER_STEP = 3


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Again, `delay` from now, as retry number `step` of the schedule (from 1); `alone`: not in a batch."""

    delay: timedelta
    step: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class RetryUnknown:
    """Ready at once, without using a step: the outcome of the attempt is unknown."""

    unknown_in_a_row: int


@dataclass(frozen=True, slots=True)
class Release:
    """Ready at once, as before the claim: nothing was sent, so there was no attempt."""


@dataclass(frozen=True, slots=True)
class Split:
    """Ready at once, in a batch of at most `limit`: the receiver rejected a batch with a message that it does not
    accept."""

    limit: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Ends without success."""

    reason: Reason


Decision: TypeAlias = Delivered | Retry | RetryUnknown | Release | Split | Discard


def decide(
    judgement: Judgement | NotAttempted,
    schedule: RetrySchedule,
    *,
    step: int,
    expires_at: datetime | None,
    now: datetime,
    batch: int = 1,
    retry_alone: bool = False,
) -> Decision:
    """`step`: retries of the schedule used so far. `now`: the database's clock. `batch`: how many deliveries the
    request carried; `retry_alone`: the deliveries of a failed batch are sent again one by one. Every judgement gets a
    decision."""
    if isinstance(judgement, NotAttempted):
        return Release()
    match judgement.verdict:
        case Verdict.ACKNOWLEDGED:
            return Delivered()
        case Verdict.REJECTED:
            # Halves, then halves of the half that is rejected again: about 2 log2 n requests find the one message.
            return Split(1 if retry_alone else (batch + 1) // 2) if batch > 1 else Discard(Reason.REJECTED)
        case Verdict.TEMPORARY:
            delay = schedule.delay(step, retry_after=judgement.retry_after)
            if delay is None:
                return Discard(Reason.EXHAUSTED)
            if expires_at is not None and now + delay >= expires_at:
                return Discard(Reason.EXPIRED)
            return Retry(delay, step + 1, alone=retry_alone and batch > 1)
        case _:
            assert_never(judgement.verdict)


def decide_after_error(schedule: RetrySchedule, *, step: int) -> Decision:
    """Decides where nothing else could be decided, because of an error of our own."""
    delay = schedule.delay(step)
    return Discard(Reason.EXHAUSTED) if delay is None else Retry(delay, step + 1)


@dataclass(frozen=True, slots=True)
class AfterDeath:
    """What becomes of a claim after its process died. `deaths`: the delivery's count from now on. `unknown`: it may
    have been sent, so the attempt is recorded."""

    decision: Decision
    deaths: int
    unknown: bool = True


def decide_unknown(schedule: RetrySchedule, *, step: int, unknown_in_a_row: int, deaths: int) -> AfterDeath:
    """Decides after a process died with a request that may have been sent. This uses no step of the schedule, except
    every third time in a row, so that a message that kills its worker ends eventually. It does not end before it was
    tried alone: what others kill may never have been sent."""
    unknown = unknown_in_a_row + 1
    if unknown < UNKNOWN_PER_STEP:
        return AfterDeath(RetryUnknown(unknown), deaths)
    decision = decide_after_error(schedule, step=step)
    if isinstance(decision, Discard) and deaths < ALONE:
        return AfterDeath(RetryUnknown(unknown_in_a_row), ALONE)
    return AfterDeath(decision, deaths)


def decide_after_death(
    *,
    unknown_in_a_row: int,
    deaths: int,
    sent: bool,
    handled: bool,
    suspected: bool,
) -> AfterDeath:
    """Decides after a worker child died, by its journal. `deaths`: how many others died before that had it in work.
    `sent`: it may have been sent. `handled`: it was being handled just then. `suspected`: nothing was, and it is one of
    those that may have been the reason. This uses no step of its schedule."""
    if handled:
        deaths = min(max(deaths + 1, ALONE), MOST)
    elif suspected:
        deaths = min(deaths + 1, MOST)
    if deaths >= MOST:
        return AfterDeath(Discard(Reason.RENDER_FAILED), deaths, unknown=sent)
    return AfterDeath(RetryUnknown(unknown_in_a_row) if sent else Release(), deaths, unknown=sent)
