from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.broker.celery_settings import VISIBILITY_TIMEOUT
from schedules.timing import REAL_TIME, Timing
from workers.results.delayed_wakes import bucket_seconds, buckets


def test_retries_of_one_slot_share_one_delayed_wake() -> None:
    assert buckets([timedelta(seconds=90 + n / 100) for n in range(100)], now=1_000.0, timing=REAL_TIME) == {
        218: 90.0,
        219: 95.0,
    }


def test_a_hundred_thousand_retries_make_as_many_delayed_wakes_as_buckets() -> None:
    delays = [timedelta(seconds=90) + timedelta(milliseconds=n) for n in range(60_000)]
    assert len(buckets(delays, now=0.0, timing=REAL_TIME)) == 13


def test_beyond_the_visibility_timeout_there_is_no_delayed_wake() -> None:
    assert buckets([timedelta(hours=1), timedelta(days=1)], now=0.0, timing=REAL_TIME) == {}


@given(st.floats(0, 3594), st.floats(0, 2e9))
def test_an_delayed_wake_never_rings_before_its_retries_are_due(seconds: float, now: float) -> None:
    (countdown,) = buckets([timedelta(seconds=seconds)], now=now, timing=REAL_TIME).values()
    assert seconds - 1e-3 <= countdown <= seconds + 5 + 1e-3


@given(st.floats(3580, 3620), st.floats(0, 2e9))
def test_no_delayed_wake_outlasts_the_time_after_which_the_broker_would_ring_it_again(
    seconds: float, now: float
) -> None:
    longest = VISIBILITY_TIMEOUT.total_seconds()
    assert all(
        countdown <= longest for countdown in buckets([timedelta(seconds=seconds)], now=now, timing=REAL_TIME).values()
    )


def test_slots_are_shorter_in_scaled_time_but_not_under_half_a_second() -> None:
    assert [bucket_seconds(Timing(scale)) for scale in (1, 0.5, 0.1, 0.01)] == [5, 2.5, 0.5, 0.5]
