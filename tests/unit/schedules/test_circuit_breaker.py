from datetime import UTC, datetime, timedelta
from typing import Any

from schedules.catalog import DEFAULT
from schedules.circuit_breaker import CircuitBreaker, after_failures
from schedules.timing import Timing

START = datetime(2026, 1, 1, tzinfo=UTC)


def fail(
    breaker: CircuitBreaker | None,
    failures: int = 1,
    *,
    after: float,
    trial: bool = False,
    scale: float = 1.0,
    **changes: Any,
) -> CircuitBreaker:
    timing = Timing(scale)
    values = {"threshold": 5, "schedule": timing.schedule("default"), "timing": timing, **changes}
    return after_failures(breaker, failures, trial_failed=trial, now=START + timedelta(seconds=after), **values)


def closed() -> CircuitBreaker:
    return fail(fail(None, 4, after=0), after=60)


def test_it_closes_with_the_fifth_failure_in_a_row_over_at_least_a_minute() -> None:
    four = fail(None, 4, after=0)
    assert (four.failures, four.failing_since, four.opened_at) == (4, START, None)
    assert fail(four, after=59.9).opened_at is None
    assert fail(four, after=60).opened_at == START + timedelta(seconds=60)


def test_many_failures_within_a_minute_close_nothing_until_one_more_comes_after_it() -> None:
    breaker = fail(None, 1_000, after=0)
    assert breaker.opened_at is None
    assert fail(breaker, after=61).opened_at is not None


def test_few_failures_close_nothing_however_long_they_last() -> None:
    assert fail(fail(None, 3, after=0), after=86_400).opened_at is None


def test_the_first_trial_comes_after_the_schedules_first_delay_and_the_next_ones_follow_it() -> None:
    breaker, now, waits = closed(), 60.0, []
    for _ in range(6):
        assert breaker.trial_at is not None
        waits.append((breaker.trial_at - START).total_seconds() - now)
        now += waits[-1] + 30
        breaker = fail(breaker, after=now, trial=True)
    assert waits == [90, 180, 360, 720, 900, 900]


def test_trials_go_on_at_the_last_delay_when_the_schedule_is_used_up() -> None:
    breaker = closed()
    for _ in range(len(DEFAULT.delays) + 3):
        breaker = fail(breaker, after=100, trial=True)
    assert breaker.trial_at == START + timedelta(seconds=100 + 900)


def test_failures_that_are_no_trials_move_an_open_circuit_not_at_all() -> None:
    before = closed()
    after = fail(before, 7, after=75)
    assert (after.opened_at, after.trial_at, after.trials) == (before.opened_at, before.trial_at, before.trials)
    assert after.failures == before.failures + 7


def test_scaled_time_shortens_the_minute_and_the_waits() -> None:
    breaker = fail(fail(None, 4, after=0, scale=0.01), after=0.6, scale=0.01)
    assert breaker.opened_at is not None
    assert breaker.trial_at == breaker.opened_at + timedelta(seconds=0.9)
