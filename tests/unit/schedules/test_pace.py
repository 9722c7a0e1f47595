from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schedules.pace import MAX_SAVED, room, used_up

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_second_has_room_for_a_seconds_worth_and_no_more_until_the_next() -> None:
    later = START + timedelta(seconds=1)
    assert room(START, later, 100) == 100
    used = used_up(START, later, 100, 100)
    assert room(used, later, 100) == 0
    assert room(used, later + timedelta(milliseconds=250), 100) == 25


def test_what_was_not_used_for_long_is_lost() -> None:
    later = START + timedelta(hours=1)
    assert room(START, later, 100) == 500
    assert room(used_up(START, later, 100, 500), later, 100) == 0
    assert room(used_up(START, later, 100, 0), later, 100) == 500


def test_a_clock_that_went_back_gives_nothing() -> None:
    assert room(START, START - timedelta(seconds=9), 1000) == 0


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.timedeltas(timedelta(), timedelta(seconds=30)), st.floats(0, 1)), max_size=30),
)
def test_whatever_steps_are_made_the_pace_is_held(per_second: int, steps: list[tuple[timedelta, float]]) -> None:
    now, used, taken = START, START, 0
    for pause, share in steps:
        now += pause
        some = round(room(used, now, per_second) * share)
        used = used_up(used, now, per_second, some)
        taken += some
    # A microsecond for each step: times are no finer.
    most = per_second * ((now - START).total_seconds() + 1e-6 * len(steps))
    assert taken <= most + 1
    assert taken <= per_second * MAX_SAVED.total_seconds() * len(steps)
