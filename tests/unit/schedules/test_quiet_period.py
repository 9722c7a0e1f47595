"""The 24 hours of quiet, and the waits of a mail that cannot be sent."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules.quiet_period import MAIL_RETRIES, QUIET_PERIOD, is_stale, next_try

NOW = datetime(2025, 8, 1, 12, 0, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def test_the_window_is_24_hours() -> None:
    assert timedelta(hours=24) == QUIET_PERIOD


def test_a_mail_is_stale_once_its_error_is_24_hours_old() -> None:
    assert not is_stale(NOW, now=NOW + QUIET_PERIOD - TICK)
    assert is_stale(NOW, now=NOW + QUIET_PERIOD)


def test_clean_failures_are_tried_again_after_1_5_15_and_30_minutes_then_hourly() -> None:
    waits = []
    now, failed = NOW, 1
    while (moment := next_try(failed, observed_at=NOW, now=now)) is not None:
        waits.append(moment - now)
        now, failed = moment, failed + 1
    assert [wait.total_seconds() / 60 for wait in waits] == [1, 5, 15, 30, *[60] * 23]
    assert now - NOW < QUIET_PERIOD


def test_no_try_is_planned_past_the_age_of_a_day() -> None:
    assert next_try(1, observed_at=NOW, now=NOW + QUIET_PERIOD - timedelta(minutes=2)) is not None
    assert next_try(1, observed_at=NOW, now=NOW + QUIET_PERIOD - timedelta(minutes=1)) is None


@pytest.mark.parametrize("failed", [len(MAIL_RETRIES) + 1, 1000])
def test_a_used_up_list_ends_the_tries(failed: int) -> None:
    assert next_try(failed, observed_at=NOW, now=NOW) is None


@given(failed=st.integers(1, 100), age=st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_planned_try_lies_ahead_and_is_never_stale(failed: int, age: timedelta) -> None:
    moment = next_try(failed, observed_at=NOW, now=NOW + age)
    assert moment is None or (moment > NOW + age and not is_stale(NOW, now=moment))
