from datetime import timedelta

import pytest

from schedules.beat import PERIODIC
from schedules.catalog import DEFAULT, SCHEDULES
from schedules.timing import REAL_TIME, Timing


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_has_all_its_delays_scaled(name: str) -> None:
    assert REAL_TIME.schedule(name) == SCHEDULES[name]
    tenth = Timing(0.1).schedule(name)
    assert tenth.name == name
    assert tenth.delays == tuple(delay * 0.1 for delay in SCHEDULES[name].delays)


def test_an_unknown_name_has_the_default() -> None:
    assert Timing(0.5).schedule("of a newer version") == Timing(0.5).schedule(DEFAULT.name)


def test_a_receivers_own_wish_is_not_scaled() -> None:
    wish = timedelta(minutes=10)
    assert Timing(0.01).schedule(DEFAULT.name).delay(0, retry_after=wish) == wish


def test_a_timeout_is_scaled_to_a_least_and_never_made_longer() -> None:
    assert [Timing(scale).timeout(30, minimum=2) for scale in (1, 0.5, 0.01)] == [30, 15, 2]
    assert [Timing(scale).timeout(1, minimum=2) for scale in (1, 0.5)] == [1, 1]
    assert Timing(0.01).timeout(30) == 0.3


def test_a_span_is_scaled() -> None:
    assert Timing(0.5).span(timedelta(minutes=1)) == timedelta(seconds=30)


def test_periodic_work_comes_more_often_where_it_may_but_not_all_the_time() -> None:
    seconds = {entry.task: [entry.seconds(Timing(scale)) for scale in (1, 0.5, 0.001)] for entry in PERIODIC}
    assert seconds == {
        "dispatcher.sweep": [5, 2.5, 0.5],
        "dispatcher.notices": [30, 30, 30],
        "dispatcher.redeliver": [5, 2.5, 0.5],
        "dispatcher.upkeep": [60, 30, 0.5],
    }
