from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.contracts import Verdict
from dispatcher.states import Reason
from schedules.retry import RetrySchedule
from workers.classify import Judgement
from workers.decide import Again, Decision, Delivered, Discard, Retry, decide, decide_unknown

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TWO = RetrySchedule("two", (timedelta(seconds=90), timedelta(minutes=3)))


def decided(
    verdict: Verdict, *, step: int = 0, expires_in: timedelta | None = None, retry_after: timedelta | None = None
) -> Decision:
    expires_at = NOW + expires_in if expires_in is not None else None
    return decide(Judgement(verdict, retry_after=retry_after), TWO, step=step, expires_at=expires_at, now=NOW, scale=1)


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


@pytest.mark.parametrize(
    ("in_a_row", "step", "expected"),
    [
        (0, 0, Again(1)),
        (1, 0, Again(2)),
        (2, 0, Retry(timedelta(seconds=90), 1)),
        (2, 2, Discard(Reason.EXHAUSTED)),
        (1, 2, Again(2)),
    ],
)
def test_every_third_unknown_outcome_in_a_row_uses_a_step(in_a_row: int, step: int, expected: Decision) -> None:
    assert decide_unknown(TWO, step=step, unknown_in_a_row=in_a_row, scale=1) == expected
