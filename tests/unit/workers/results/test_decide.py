from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.deliveries.deaths import ALONE, MOST
from dispatcher.states import Reason
from dispatcher.webhooks.contract import Verdict
from schedules.catalog import DEFAULT
from schedules.retry import RETRY_AFTER_CAP, RetrySchedule
from schedules.timing import Timing
from workers.results.classify import Judgement, NotAttempted
from workers.results.decide import (
    AfterDeath,
    Decision,
    Delivered,
    Discard,
    Release,
    Retry,
    RetryUnknown,
    Split,
    decide,
    decide_after_death,
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
    ("in_a_row", "step", "deaths", "expected"),
    [
        (0, 0, 1, AfterDeath(RetryUnknown(1), 1)),
        (1, 0, 0, AfterDeath(RetryUnknown(2), 0)),
        (2, 0, 0, AfterDeath(Retry(timedelta(seconds=90), 1), 0)),
        (1, 2, 0, AfterDeath(RetryUnknown(2), 0)),
        (2, 2, 0, AfterDeath(RetryUnknown(2), ALONE)),  # it may never have been sent: alone it will be
        (2, 2, ALONE, AfterDeath(Discard(Reason.EXHAUSTED), ALONE)),
    ],
)
def test_every_third_unknown_outcome_in_a_row_uses_a_step(
    in_a_row: int, step: int, deaths: int, expected: AfterDeath
) -> None:
    assert decide_unknown(TWO, step=step, unknown_in_a_row=in_a_row, deaths=deaths) == expected


@pytest.mark.parametrize(
    ("deaths", "sent", "handled", "suspected", "expected"),
    [
        (0, False, False, False, AfterDeath(Release(), 0, unknown=False)),
        (0, True, False, False, AfterDeath(RetryUnknown(2), 0)),  # another is to blame
        (0, True, False, True, AfterDeath(RetryUnknown(2), 1)),
        (1, False, False, True, AfterDeath(Release(), 2, unknown=False)),
        (0, False, True, False, AfterDeath(Release(), ALONE, unknown=False)),
        (0, True, True, False, AfterDeath(RetryUnknown(2), ALONE)),
        (ALONE, False, True, False, AfterDeath(Release(), ALONE + 1, unknown=False)),
        (ALONE + 1, False, True, False, AfterDeath(Discard(Reason.RENDER_FAILED), MOST, unknown=False)),
        (ALONE + 1, True, True, False, AfterDeath(Discard(Reason.RENDER_FAILED), MOST)),
        (ALONE + 1, True, False, True, AfterDeath(Discard(Reason.RENDER_FAILED), MOST)),
        (ALONE + 1, True, False, False, AfterDeath(RetryUnknown(2), ALONE + 1)),
    ],
)
def test_after_a_death_only_what_may_have_caused_it_is_suspected(
    deaths: int, sent: bool, handled: bool, suspected: bool, expected: AfterDeath
) -> None:
    found = decide_after_death(unknown_in_a_row=2, deaths=deaths, sent=sent, handled=handled, suspected=suspected)
    assert found == expected


def test_what_is_named_at_each_death_ends_with_the_third() -> None:
    deaths, seen = 0, 0
    while deaths < MOST:
        after = decide_after_death(unknown_in_a_row=0, deaths=deaths, sent=False, handled=True, suspected=False)
        deaths, seen = after.deaths, seen + 1
    assert (seen, after.decision) == (3, Discard(Reason.RENDER_FAILED))


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
    seen = deaths = 0
    decision: Decision = RetryUnknown(unknown)
    while not isinstance(decision, Discard):
        seen += 1
        assert seen <= 3 * (len(DEFAULT.delays) + 3)
        if isinstance(decision, Retry):
            step, unknown = decision.step, 0
        elif isinstance(decision, RetryUnknown):
            unknown = decision.unknown_in_a_row
        after = decide_unknown(DEFAULT, step=step, unknown_in_a_row=unknown, deaths=deaths)
        decision, deaths = after.decision, after.deaths
    assert decision == Discard(Reason.EXHAUSTED)
