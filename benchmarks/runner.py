"""Runs measures in rounds, all of them in turn, so that a slow moment of the machine affects all alike."""

import time
from collections.abc import Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.catalog import FILL, Measure
from benchmarks.targets import MeasureResult, Sample

Say = Callable[[str], None]


def run_measures(bench: Bench, measures: Sequence[Measure], runs: int, say: Say) -> dict[str, MeasureResult]:
    """The result of each measure. One that fails once is not run again."""
    results = {measure.name: MeasureResult(skipped=_why_not(bench, measure)) for measure in measures}
    here = [measure for measure in measures if not results[measure.name].skipped]
    for stage in FILL.keys() & {measure.stage for measure in here}:
        began = time.monotonic()
        bench.enter(stage)
        FILL[stage](bench)
        say(f"{stage}: made in {time.monotonic() - began:.0f} s")
    for number in range(runs):
        for measure in here:
            once = measure.long and bench.quick
            if not results[measure.name].failed and not (once and number):
                _run(bench, measure, f"{measure.name} {number + 1}/{runs}", results[measure.name], say)
    return results


def _why_not(bench: Bench, measure: Measure) -> str | None:
    return "full run only" if measure.full_run_only and bench.quick else measure.unless()


def _run(bench: Bench, measure: Measure, name: str, result: MeasureResult, say: Say) -> None:
    began = time.monotonic()
    bench.enter(measure.stage)
    try:
        sample = measure.run(bench)
    except Exception as error:  # noqa: BLE001 - a contestant that fails is a result; the others continue
        bench.end_worker()  # the next measure must not find it in the middle of its work
        result.failed = f"{type(error).__name__}: {error}"
        say(f"{name}: failed: {result.failed}")
        return
    result.samples.append(sample)
    say(f"{name}: {_shown(sample)} ({time.monotonic() - began:.0f} s)")


def _shown(sample: Sample) -> str:
    return ", ".join(
        f"{name} {value:,.0f}" if value >= 100 else f"{name} {value:.3g}" for name, value in sample.items()
    )
