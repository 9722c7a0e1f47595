"""What grew during a soak, and whether it should have. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median, quantiles

from tests.faults.soak.quantities import LIMITS, is_history, kind_of

WARM_UP_SECONDS, WARM_UP_SHARE = (
    600.0,
    1 / 3,
)  # of a soak, whichever is less: caches fill, and all kinds of work are met
STILL = 0.25  # of what a quantity may grow by: less than this in the latter half of the time is none


@dataclass(frozen=True, slots=True)
class Sample:
    """All quantities at a moment, in seconds from the start. One that is not there could not be measured."""

    at: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Grown:
    """A quantity in a soak, the warm-up left out: its level in the first third, its median, its level in the last.
    `limit`: by how much it may grow, infinite for what grows by design."""

    name: str
    first: float
    middle: float
    last: float
    seconds: float  # between the middles of the first and of the last third
    limit: float
    still: bool  # it goes on growing

    @property
    def by(self) -> float:
        return self.last - self.first

    @property
    def an_hour(self) -> float:
        return self.by / self.seconds * 3600

    @property
    def too_much(self) -> bool:
        """What grew once and stays there is none that grows without bound."""
        return self.by > self.limit and self.still


def after_warm_up(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples that are judged."""
    end = samples[-1].at
    return [sample for sample in samples if sample.at >= min(WARM_UP_SECONDS, end * WARM_UP_SHARE)]


def growth(samples: Sequence[Sample], table_of: Mapping[str, str]) -> list[Grown]:
    """Of each quantity, by its name. Raises ValueError if there are too few samples."""
    judged = after_warm_up(samples) if samples else []
    if len(judged) < 3:
        raise ValueError("a soak needs three samples after its warm-up, at least")
    names = sorted({name for sample in judged for name in sample.values})
    return [grown for name in names if (grown := _grown(name, judged, table_of))]


def _grown(name: str, judged: Sequence[Sample], table_of: Mapping[str, str]) -> Grown | None:
    begin, end = judged[0].at, judged[-1].at
    third = (end - begin) / 3
    parts = [
        [s.values[name] for s in judged if low <= s.at <= high and name in s.values]
        for low, high in ((begin, begin + third), (begin + third, end - third), (end - third, end))
    ]
    if not (parts[0] and parts[-1]):
        return None  # it came or went meanwhile
    first, last = _level(parts[0]), _level(parts[-1])
    between = _level(parts[1] or parts[0])
    limit = LIMITS[kind_of(name)]
    allowed = inf if is_history(name, table_of) else max(limit.amount, limit.share * first)
    return Grown(
        name=name,
        first=first,
        middle=median(value for part in parts for value in part),
        last=last,
        seconds=2 * third,
        limit=allowed,
        still=last - between > allowed * STILL,
    )


def _level(values: Sequence[float]) -> float:
    """The lower quartile. Much comes and goes, as connections to a receiver that fails: what stays shows between."""
    return quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]


def bytes_an_event(samples: Sequence[Sample], events: Mapping[float, int], table_of: Mapping[str, str]) -> float:
    """By how much all that grows by design grew for each event, after the warm-up. `events`: time of a sample -> how
    many were accepted until then."""
    judged = after_warm_up(samples)
    first, last = judged[0], judged[-1]
    grown = sum(last.values[name] - first.values.get(name, 0) for name in _history(last, table_of))
    return grown / max(events[last.at] - events[first.at], 1)


def _history(sample: Sample, table_of: Mapping[str, str]) -> Iterator[str]:
    return (name for name in sample.values if is_history(name, table_of))
