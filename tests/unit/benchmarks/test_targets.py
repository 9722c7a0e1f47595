"""Medians, ratios, verdicts and the exit status."""

import pytest

from benchmarks.targets import (
    Increase,
    Judged,
    Largest,
    MeasureResult,
    Ratio,
    Target,
    Value,
    Verdict,
    exit_status,
    judge,
    percentile,
)

RESULTS = {
    "ours": MeasureResult([{"rate": 900.0}, {"rate": 100.0}, {"rate": 300.0}]),
    "naive": MeasureResult([{"rate": 10.0, "mb": 5.0}, {"rate": 20.0, "mb": 6.0}]),
    "absent": MeasureResult(skipped="no Node here"),
    "broken": MeasureResult([{"rate": 1.0}], failed="it ended"),
}


def target(value: object, must: float, aim: float, *, more: bool = True) -> Target:
    return Target("beside", value, must, aim, more=more)  # type: ignore[arg-type]


def test_one_run_that_went_wrong_does_not_move_the_median() -> None:
    assert RESULTS["ours"].medians == {"rate": 300.0}
    assert RESULTS["naive"].medians == {"rate": 15.0, "mb": 5.5}


def test_a_ratio_is_that_of_the_medians() -> None:
    assert Ratio("ours.rate", "naive.rate").of_results(RESULTS) == 20.0


def test_the_other_values_are_what_they_say() -> None:
    assert Value("naive.mb").of_results(RESULTS) == 5.5
    assert Increase("ours.rate", "naive.rate").of_results(RESULTS) == 285.0
    assert Largest(("ours.rate", "naive.rate")).of_results(RESULTS) == 300.0


def test_a_value_needs_each_measure_it_names() -> None:
    assert Ratio("ours.rate", "naive.mb").needs == ("ours", "naive")
    assert Increase("ours.rate", "naive.mb").needs == ("ours", "naive")
    assert Largest(("ours.rate", "naive.rate")).needs == ("ours", "naive")
    assert Value("naive.mb").needs == ("naive",)


@pytest.mark.parametrize(
    ("must", "aim", "more", "verdict", "aim_reached"),
    [
        (20, 20, True, Verdict.OK, True),
        (20, 21, True, Verdict.OK, False),
        (21, 30, True, Verdict.MISS, False),
        (20, 20, False, Verdict.OK, True),
        (20, 19, False, Verdict.OK, False),
        (19, 10, False, Verdict.MISS, False),
    ],
)
def test_a_bound_itself_is_kept_and_what_lies_beyond_is_not(
    must: float, aim: float, more: bool, verdict: Verdict, aim_reached: bool
) -> None:
    found = judge(target(Ratio("ours.rate", "naive.rate"), must, aim, more=more), RESULTS)
    assert (found.value, found.verdict, found.aim_reached) == (20.0, verdict, aim_reached)


def test_what_could_not_be_run_is_skipped_and_what_failed_is_missed() -> None:
    skipped = judge(target(Ratio("ours.rate", "absent.rate"), 1, 1), RESULTS)
    assert (skipped.verdict, skipped.value, skipped.reason) == (Verdict.SKIPPED, None, "no Node here")
    missed = judge(target(Ratio("broken.rate", "absent.rate"), 1, 1), RESULTS)
    assert (missed.verdict, missed.value, missed.reason) == (Verdict.MISS, None, "it ended")


def test_the_exit_status_reports_any_miss_and_nothing_else() -> None:
    any_target = target(Value("naive.mb"), 1, 1)
    fine = [Judged(any_target, Verdict.OK, 1.0), Judged(any_target, Verdict.SKIPPED)]
    assert exit_status(fine) == 0
    assert exit_status([*fine, Judged(any_target, Verdict.MISS)]) == 1


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.01) == 7.0
