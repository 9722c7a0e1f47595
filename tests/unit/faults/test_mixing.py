"""The cases of the fault suite, and the plan of a mixed run."""

from itertools import combinations

from tests.faults.cases.catalog import BY_NAME, SHORT
from tests.faults.cases.mixing import Mixed, make_mix

CASES = list(BY_NAME.values())


def names(mix: list[Mixed]) -> list[tuple[float, str]]:
    return [(one.at, one.case.name) for one in mix]


def test_the_same_seed_makes_the_same_mix_and_another_one_another() -> None:
    assert names(make_mix(CASES, 600, 7)) == names(make_mix(CASES, 600, 7))
    assert names(make_mix(CASES, 600, 7)) != names(make_mix(CASES, 600, 8))


def test_several_faults_happen_at_once_but_never_two_of_one_thing() -> None:
    mix = make_mix(CASES, 1800, 1)
    overlapping = [(a, b) for a, b in combinations(mix, 2) if a.at <= b.until and b.at <= a.until]
    assert overlapping
    assert not [(a.case.name, b.case.name) for a, b in overlapping if a.case.touches & b.case.touches]


def test_while_the_version_before_runs_its_servers_are_left_alone() -> None:
    """What it does when they are away was mended after it."""
    assert {"postgres", "valkey"} <= BY_NAME["version-before"].touches


def test_all_faults_begin_and_end_within_the_mix() -> None:
    for seconds in (30.0, 600.0):
        mix = make_mix(CASES, seconds, 3)
        assert mix
        assert all(0 < one.at <= one.until <= seconds for one in mix)


def test_a_mix_of_half_an_hour_has_each_case() -> None:
    assert {one.case.name for one in make_mix(CASES, 1800, 1)} == set(BY_NAME)


def test_the_short_run_has_six_cases_which_all_last_seconds_only() -> None:
    assert len(SHORT) == 6
    assert sum(BY_NAME[name].seconds(short=True) for name in SHORT) < 30
