"""Which measures a run has, and how often."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.bench import Stage
from benchmarks.catalog import Measure
from benchmarks.runner import run_measures


@pytest.mark.parametrize("quick", [True, False])
def test_a_quick_run_has_long_measures_once_and_the_others_in_every_round(quick: bool) -> None:
    done: list[str] = []
    bench: Any = SimpleNamespace(quick=quick, enter=lambda stage: None, end_worker=lambda: None)

    def measure(name: str, **options: Any) -> Measure:
        def run(_: Any) -> dict[str, float]:
            done.append(name)
            return {"rate": 1.0}

        return Measure(name, run, **options)

    measures = [measure("s"), measure("l", long=True), measure("f", full_run_only=True)]
    results = run_measures(bench, measures, 3, lambda line: None)
    assert "".join(done) == ("slss" if quick else "slfslfslf")
    assert [len(results[name].samples) for name in "slf"] == ([3, 1, 0] if quick else [3, 3, 3])
    assert results["f"].skipped == ("full run only" if quick else None)


def test_a_measure_that_fails_is_not_run_again_and_the_worker_is_ended() -> None:
    ended: list[str] = []
    tries: list[int] = []
    bench: Any = SimpleNamespace(quick=False, enter=lambda stage: None, end_worker=lambda: ended.append("worker"))

    def fails(_: Any) -> dict[str, float]:
        tries.append(1)
        raise RuntimeError("it ended")

    results = run_measures(bench, [Measure("one", fails, Stage.EMPTY)], 3, lambda line: None)
    assert (tries, ended, results["one"].failed) == ([1], ["worker"], "RuntimeError: it ended")
