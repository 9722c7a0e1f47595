"""Times of series, percentiles from classes, and what customers are told."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from dispatcher.errors import InvalidFilter
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses.answer_times import BOUNDS, AnswerTimes
from dispatcher.webhooks.pulses.series import MOST_OUTCOMES, Answers, Counted, Counts, Row, Series, joined, verdict_of
from dispatcher.webhooks.pulses.steps import MOST_POINTS, Step, Times

NOW = datetime(2026, 3, 2, 9, 14, 7, tzinfo=UTC)
NO_ANSWERS = (0,) * (len(BOUNDS) + 1)


def at(hour: int, minute: int = 0, day: int = 2) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "step"),
    [
        (timedelta(minutes=1), Step.MINUTES_5),
        (timedelta(hours=3), Step.MINUTES_5),
        (timedelta(hours=24), Step.MINUTES_15),
        (timedelta(hours=49), Step.HOUR),
        (timedelta(days=8), Step.HOUR),
        (timedelta(days=30), Step.DAY),
        (timedelta(days=400), Step.DAY),
    ],
)
def test_the_step_follows_from_the_length(length: timedelta, step: Step) -> None:
    times = Times.of(NOW, NOW - length)
    assert times.step is step
    assert times.since <= NOW - length < times.since + step.length
    assert times.until - step.length < NOW <= times.until
    assert len(times.points) <= 401


def test_what_was_long_ago_has_only_the_steps_that_are_kept() -> None:
    assert Times.of(NOW, NOW - timedelta(days=3), NOW - timedelta(days=3, hours=-1)).step is Step.HOUR
    assert Times.of(NOW, NOW - timedelta(days=90), NOW - timedelta(days=89)).step is Step.DAY
    with pytest.raises(InvalidFilter, match="counts by 15m are kept for 48 hours"):
        Times.of(NOW, NOW - timedelta(days=3), step=Step.MINUTES_15)


def test_times_are_rounded_to_whole_steps_around_what_was_asked_for() -> None:
    times = Times.of(NOW, at(8, 20), at(9, 1), Step.MINUTES_15)
    assert times.points == [at(8, 15), at(8, 30), at(8, 45), at(9)]
    assert Times.of(NOW, at(8, 15), at(9), Step.MINUTES_15).points == [at(8, 15), at(8, 30), at(8, 45)]
    assert Times.of(NOW, at(8), at(20), Step.HOUR).points == [at(8), at(9)]  # nothing is in the future


def test_rows_belong_to_the_point_they_are_in_and_all_to_the_total() -> None:
    times = Times.of(NOW, at(8), at(9), Step.MINUTES_15)
    rows = [Row(at(8, 5), "ok", 2, 5), Row(at(8, 10), "ok", 1, 1), Row(at(8, 45), "temporary:dns", 9, 9)]
    answers = [Answers(at(8, 5), AnswerTimes((2, *NO_ANSWERS[1:]), 30)), Answers(at(8, 10), AnswerTimes(millis=9))]
    found = Series.of(times, NOW, rows, answers)
    assert [point.counts.requests for point in found.points] == [3, 0, 0, 9]
    assert found.points[0].counts.outcomes == {"ok": Counted(3, 6)}
    assert [point.counts.answer_times.millis for point in found.points] == [39, 0, 0, 0]
    assert list(found.total.outcomes) == ["temporary:dns", "ok"]
    assert (found.total.requests, found.total.messages, found.total.answer_times.millis) == (12, 15, 39)
    assert found.total.with_verdict(Verdict.TEMPORARY) == 9


def test_customers_see_names_that_do_not_exist_as_addresses_that_may_not_be_called() -> None:
    rows = [Row(NOW, f"temporary:{kind}", 1, 1) for kind in ("dns", "address_refused", "timeout")]
    assert Counts.of(joined([], rows, exact=False), []).outcomes == {
        "temporary:address_refused": Counted(2, 2),
        "temporary:timeout": Counted(1, 1),
    }
    assert len(Counts.of(joined([], rows, exact=True), []).outcomes) == 3


def test_what_is_new_has_the_outcomes_of_the_series_and_others_while_there_is_room() -> None:
    new = [Row(NOW, f"rejected:http_{status}", status, 1) for status in range(400, 430)] + [Row(NOW, "ok", 1, 1)]
    alone = Counts.of(joined([], new, exact=True), []).outcomes
    most = {f"rejected:http_{status}": Counted(status, 1) for status in range(410, 430)}
    assert alone == {**most, "rejected:other": Counted(sum(range(400, 410)), 10), "ok": Counted(1, 1)}
    few = [Row(NOW, "temporary:dns", 1, 1), Row(NOW, "rejected:http_400", 5, 5)]
    beside_few = Counts.of(joined(few, new, exact=True), []).outcomes
    assert beside_few["rejected:http_400"] == Counted(405, 6)
    assert len(beside_few) == MOST_OUTCOMES + 2
    full = [*few, Row(NOW, "temporary:other", 7, 7)]
    assert Counts.of(joined(full, new, exact=True), []).outcomes == {
        "rejected:other": Counted(sum(range(401, 430)), 29),
        "rejected:http_400": Counted(405, 6),
        "temporary:other": Counted(7, 7),
        "temporary:dns": Counted(1, 1),
        "ok": Counted(1, 1),
    }


def test_a_step_that_makes_very_many_points_is_refused_but_days_are_all_there() -> None:
    length = timedelta(minutes=5) * MOST_POINTS
    assert len(Times.of(at(9), at(9) - length, step=Step.MINUTES_5).points) == MOST_POINTS
    too_long = at(9) - length - timedelta(minutes=1)
    with pytest.raises(InvalidFilter, match="makes 301 points, more than 300: ask for a shorter time, or by 15m, the"):
        Times.of(at(9), too_long, step=Step.MINUTES_5)
    assert len(Times.of(at(9), too_long, step=Step.MINUTES_15).points) < MOST_POINTS
    with pytest.raises(InvalidFilter, match="makes 721 points, more than 300: ask for a shorter time, or by 1d, the"):
        Times.of(NOW, NOW - timedelta(days=30), step=Step.HOUR)
    assert len(Times.of(NOW, NOW - timedelta(days=400), step=Step.DAY).points) == 401


def test_outcomes_that_a_newer_version_adds_have_no_verdict() -> None:
    assert [verdict_of(outcome) for outcome in ("ok", "rejected:http_404", "token_refused", "postponed:x")] == [
        Verdict.ACKNOWLEDGED,
        Verdict.REJECTED,
        None,
        None,
    ]


def test_percentiles_are_within_the_class_of_the_exact_ones() -> None:
    chance = Random(1)
    exact = sorted(chance.lognormvariate(4, 1.2) for _ in range(5_000))
    classes = [0] * (len(BOUNDS) + 1)
    for ms in exact:
        classes[sum(ms > bound for bound in BOUNDS)] += 1
    times = AnswerTimes(classes, round(sum(exact)))
    for percent in (1, 50, 95, 99, 100):
        about, true = times.percentile_ms(percent), exact[len(exact) * percent // 100 - 1]
        assert about is not None
        low = max(bound for bound in (0, *BOUNDS) if bound < true)
        assert low <= about <= next(bound for bound in BOUNDS if bound >= true)
    assert times.mean_ms == pytest.approx(sum(exact) / 5_000, abs=0.001)


def test_answers_are_evenly_spread_in_their_class_and_above_the_last_bound_it_is_that() -> None:
    assert AnswerTimes((0, 0, 4, *NO_ANSWERS[3:])).percentile_ms(50) == 37.5  # between 25 and 50 ms
    assert AnswerTimes((*NO_ANSWERS[:-1], 3)).percentile_ms(50) == 30_000
    assert (AnswerTimes().percentile_ms(50), AnswerTimes().mean_ms, AnswerTimes().answers) == (None, None, 0)
