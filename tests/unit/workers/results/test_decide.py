from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.states import Reason
from dispatcher.webhooks.contract import Verdict
from schedules.catalog import DEFAULT
from schedules.retry import RETRY_AFTER_CAP, RetrySchedule
from schedules.timing import Timing
from workers.results.classify import Judgement, NotAttempted
from workers.results.decide import (
    Decision,
    Delivered,
    Discard,
    Release,
    Retry,
    RetryUnknown,
    Split,
    decide,
    decide_unknown,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TWO = RetrySchedule("two", (timedelta(seconds=90), timedelta(minutes=3)))


def decided(
    verdict: Verdict, *, step: int = 0, expires_in: timedelta | None = None, retry_after: timedelta | None = None
) -> Decision:
    expires_at = NOW + expires_in if expires_in is not None else None
    return decide(Judgement(verdict, retry_after=retry_after), TWO, step=step, expires_at=expires_at, now=NOW)


def test_acknowledged_is_delivered() -> None:
    assert decided(Verdict.ACKNOWLEDGED, step=1) == Delivered()


def test_rejected_is_discarded_at_once() -> None:
    assert decided(Verdict.REJECTED) == Discard(Reason.REJECTED)


def test_temporary_follows_the_schedule_and_ends_exhausted() -> None:
    assert decided(Verdict.TEMPORARY, step=0) == Retry(timedelta(seconds=90), 1)
    assert decided(Verdict.TEMPORARY, step=1) == Retry(timedelta(minutes=3), 2)
    assert decided(Verdict.TEMPORARY, step=2) == Discard(Reason.EXHAUSTED)


def test_an_event_gets_no_retry_beyond_its_own_deadline() -> None:
    assert decided(Verdict.TEMPORARY, expires_in=timedelta(seconds=90)) == Discard(Reason.EXPIRED)
    assert decided(Verdict.TEMPORARY, expires_in=timedelta(seconds=91)) == Retry(timedelta(seconds=90), 1)


def test_the_receivers_wish_is_honoured() -> None:
    assert decided(Verdict.TEMPORARY, retry_after=timedelta(minutes=10)) == Retry(timedelta(minutes=10), 1)


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("batch", [1, 7])
def test_what_was_not_attempted_is_released_whatever_is_left_of_its_schedule_and_time(step: int, batch: int) -> None:
    decision = decide(NotAttempted(), TWO, step=step, expires_at=NOW, now=NOW, batch=batch, retry_alone=True)
    assert decision == Release()


@pytest.mark.parametrize(
    ("in_a_row", "step", "expected"),
    [
        (0, 0, RetryUnknown(1)),
        (1, 0, RetryUnknown(2)),
        (2, 0, Retry(timedelta(seconds=90), 1)),
        (2, 2, Discard(Reason.EXHAUSTED)),
        (1, 2, RetryUnknown(2)),
    ],
)
def test_every_third_unknown_outcome_in_a_row_uses_a_step(in_a_row: int, step: int, expected: Decision) -> None:
    assert decide_unknown(TWO, step=step, unknown_in_a_row=in_a_row) == expected


@given(
    verdict=st.sampled_from(Verdict),
    retry_after=st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400_000)),
    step=st.integers(0, 300),
    left=st.none() | st.timedeltas(min_value=-timedelta(days=3), max_value=timedelta(days=3)),
    scale=st.floats(0.001, 1),
    batch=st.integers(1, 100),
    retry_alone=st.booleans(),
)
def test_every_decision_keeps_to_the_schedule_and_to_the_events_time(
    verdict: Verdict,
    retry_after: timedelta | None,
    step: int,
    left: timedelta | None,
    scale: float,
    batch: int,
    retry_alone: bool,
) -> None:
    decision = decide(
        Judgement(verdict, retry_after=retry_after),
        Timing(scale).schedule("default"),
        step=step,
        expires_at=NOW + left if left is not None else None,
        now=NOW,
        batch=batch,
        retry_alone=retry_alone,
    )
    match decision:
        case Delivered():
            assert verdict is Verdict.ACKNOWLEDGED
        case Split(limit):
            assert (verdict, 1 <= limit < batch) == (Verdict.REJECTED, True)
        case Discard(Reason.REJECTED):
            assert (verdict, batch) == (Verdict.REJECTED, 1)
        case Discard(Reason.EXHAUSTED):
            assert (verdict, step >= len(DEFAULT.delays)) == (Verdict.TEMPORARY, True)
        case Discard(Reason.EXPIRED):
            assert verdict is Verdict.TEMPORARY
            assert left is not None
        case Retry(delay, next_step, alone):
            scheduled = DEFAULT.delays[step] * scale
            assert scheduled <= delay <= max(scheduled, RETRY_AFTER_CAP)
            assert (next_step, alone) == (step + 1, retry_alone and batch > 1)
            assert left is None or delay < left
        case _:
            raise AssertionError(decision)


@given(step=st.integers(0, 300), unknown=st.integers(0, 5))
def test_unknown_outcomes_end_one_day(step: int, unknown: int) -> None:
    seen = 0
    decision: Decision = RetryUnknown(unknown)
    while not isinstance(decision, Discard):
        seen += 1
        assert seen <= 3 * (len(DEFAULT.delays) + 2)
        if isinstance(decision, Retry):
            step, unknown = decision.step, 0
        elif isinstance(decision, RetryUnknown):
            unknown = decision.unknown_in_a_row
        decision = decide_unknown(DEFAULT, step=step, unknown_in_a_row=unknown)
    assert decision == Discard(Reason.EXHAUSTED)
