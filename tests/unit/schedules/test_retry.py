from datetime import timedelta
from itertools import pairwise

from schedules.catalog import DEFAULT, DOUBLING, HOUR
from schedules.retry import RETRY_AFTER_CAP
from schedules.timing import Timing


def delays() -> list[timedelta]:
    found, step = [], 0
    while (delay := DEFAULT.delay(step)) is not None:
        found.append(delay)
        step += 1
    return found


def test_the_default_schedule_is_90_s_3_6_12_min_then_every_15_min_for_two_days() -> None:
    minutes = [delay / timedelta(minutes=1) for delay in delays()]
    assert minutes[:4] == [1.5, 3, 6, 12]
    assert set(minutes[4:]) == {15}
    assert sum(minutes[4:]) == 2 * 24 * 60
    assert len(minutes) == 196


def test_the_span_is_all_delays_together() -> None:
    assert DEFAULT.span == sum(delays(), timedelta()) == timedelta(days=2, minutes=22, seconds=30)


def test_scale_shortens_the_schedule() -> None:
    assert Timing(0.1).schedule("default").delay(0) == timedelta(seconds=9)


def test_a_receivers_wish_never_makes_a_retry_earlier() -> None:
    assert DEFAULT.delay(0, retry_after=timedelta(seconds=1)) == timedelta(seconds=90)


def test_a_receivers_wish_makes_a_retry_later_up_to_a_cap() -> None:
    assert DEFAULT.delay(0, retry_after=timedelta(seconds=120)) == timedelta(seconds=120)
    assert DEFAULT.delay(0, retry_after=timedelta(days=3)) == RETRY_AFTER_CAP


def test_a_wish_gives_no_retry_that_the_schedule_has_not() -> None:
    assert DEFAULT.delay(196, retry_after=timedelta(seconds=1)) is None


def test_the_schedule_of_an_hour_ends_within_one_and_begins_like_the_default() -> None:
    assert HOUR.delays == DEFAULT.delays[: len(HOUR.delays)]
    assert HOUR.span <= timedelta(hours=1) < HOUR.span + timedelta(minutes=15)


def test_the_doubling_schedule_is_5_s_10_s_and_so_on_to_81920_s() -> None:
    seconds = [delay / timedelta(seconds=1) for delay in DOUBLING.delays]
    assert (seconds[0], seconds[-1]) == (5, 81_920)
    assert all(later == 2 * sooner for sooner, later in pairwise(seconds))
