"""Pure. What is measured: families of metrics, and the places of their values in a row of numbers.

The values that a label can have are fixed. So there is a place for each from the start, and no id can become one.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

Labels: TypeAlias = tuple[str, ...]
Cells: TypeAlias = "memoryview[float]"  # a row of numbers
ALONE: tuple[Labels, ...] = ((),)  # a family without labels

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAITS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 1000.0, 2000.0)


class Kind(StrEnum):
    """What the values of a family do."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """A family of metrics. `name` is without the `_total` of a counter; `series` are the values of its labels, if they
    are known before; `buckets` are the upper bounds of a histogram's."""

    name: str
    kind: Kind
    says: str
    labels: Labels = ()
    series: tuple[Labels, ...] = ALONE
    buckets: tuple[float, ...] = ()

    @property
    def shown_name(self) -> str:
        """As it is queried."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name

    @property
    def width(self) -> int:
        """How many numbers one series has: a histogram's are its buckets, each counted by itself, what is above them,
        and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


class Places:
    """Where the values of some families are in a row of numbers."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.families = tuple(families)
        self._first: dict[str, int] = {}
        self.size = 0
        for family in families:
            self._first[family.name] = self.size
            self.size += family.width * len(family.series)

    def of(self, family: Family) -> dict[Labels, int]:
        """The first place of each series."""
        first = self._first[family.name]
        return {labels: first + at * family.width for at, labels in enumerate(family.series)}


class Histogram:
    """One histogram without labels in a row of numbers, which one thread writes."""

    __slots__ = ("_cells", "_sum", "at", "buckets")

    def __init__(self, cells: Cells, places: Places, family: Family) -> None:
        self._cells, self.buckets = cells, family.buckets
        (self.at,) = places.of(family).values()
        self._sum = self.at + family.width - 1

    def observe(self, value: float) -> None:
        """Counts a value, which is not negative."""
        self._cells[self.at + bisect_left(self.buckets, value)] += 1.0
        self._cells[self._sum] += value

    def add(self, values: float) -> None:
        """The sum of values whose buckets have been counted already."""
        self._cells[self._sum] += values


BUILD = Family("dispatcher_build_info", Kind.GAUGE, "Always 1: the version that runs.", ("version",))

Values: TypeAlias = Mapping[Labels, Sequence[float]]  # the numbers of each series of a family


def values_of(family: Family, places: Places, cells: Cells) -> Values:
    """What a row of numbers says of a family."""
    return {labels: cells[at : at + family.width].tolist() for labels, at in places.of(family).items()}
