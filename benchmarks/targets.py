"""The targets of the figures: ratios, verdicts, medians, the exit status. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

Sample = Mapping[str, float]  # the result of one run of a measure: figure -> value


@dataclass(slots=True)
class MeasureResult:
    """The result of one measure: its samples, or why there are none. A measure that failed misses its targets; one that
    could not be run here does not."""

    samples: list[Sample] = field(default_factory=list)
    skipped: str | None = None
    failed: str | None = None

    @property
    def medians(self) -> dict[str, float]:
        """The median of each figure over the runs."""
        names = dict.fromkeys(name for sample in self.samples for name in sample)
        return {name: median(sample[name] for sample in self.samples if name in sample) for name in names}


MeasureResults = Mapping[str, MeasureResult]  # by measure


@dataclass(frozen=True, slots=True)
class Value:
    """One figure, as `measure.figure`."""

    of: str

    @property
    def needs(self) -> tuple[str, ...]:
        return (_measure(self.of),)

    def of_results(self, results: MeasureResults) -> float:
        return _figure(results, self.of)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure over another."""

    of: str
    over: str

    @property
    def needs(self) -> tuple[str, ...]:
        return _measure(self.of), _measure(self.over)

    def of_results(self, results: MeasureResults) -> float:
        return _figure(results, self.of) / _figure(results, self.over)


@dataclass(frozen=True, slots=True)
class Increase:
    """How much more one figure is than another."""

    of: str
    over: str

    @property
    def needs(self) -> tuple[str, ...]:
        return _measure(self.of), _measure(self.over)

    def of_results(self, results: MeasureResults) -> float:
        return _figure(results, self.of) - _figure(results, self.over)


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest of several figures."""

    of: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(_measure(name) for name in self.of)

    def of_results(self, results: MeasureResults) -> float:
        return max(_figure(results, name) for name in self.of)


@dataclass(frozen=True, slots=True)
class Target:
    """A value with the bound that it must keep and the bound to aim at; less is better if `more` is False."""

    label: str
    value: Value | Ratio | Increase | Largest
    must: float
    aim: float
    more: bool = True
    unit: str = "x"

    def keeps(self, value: float, bound: float) -> bool:
        return value >= bound if self.more else value <= bound


class Verdict(StrEnum):
    """The result of a target."""

    OK = "ok"
    MISS = "MISS"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Judged:
    """A target with its result. `reason` says why there is no value."""

    target: Target
    verdict: Verdict
    value: float | None = None
    aim_reached: bool = False
    reason: str | None = None


def judge(target: Target, results: MeasureResults) -> Judged:
    """The verdict on a target: missed if one of its measures failed, skipped if one was skipped."""
    needed = [results[name] for name in target.value.needs]
    if reason := next((result.failed for result in needed if result.failed), None):
        return Judged(target, Verdict.MISS, reason=reason)
    if reason := next((result.skipped for result in needed if result.skipped), None):
        return Judged(target, Verdict.SKIPPED, reason=reason)
    value = target.value.of_results(results)
    verdict = Verdict.OK if target.keeps(value, target.must) else Verdict.MISS
    return Judged(target, verdict, value, aim_reached=target.keeps(value, target.aim))


def exit_status(judged: Iterable[Judged]) -> int:
    """1 if any `must` was missed, otherwise 0."""
    return int(any(one.verdict is Verdict.MISS for one in judged))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _measure(name: str) -> str:
    return name.partition(".")[0]


def _figure(results: MeasureResults, name: str) -> float:
    measure, _, figure = name.partition(".")
    return results[measure].medians[figure]
