"""How long answers took, as counts in classes of time. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

BOUNDS = (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)  # ms; the last class is above


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """How many answers came within each bound and not within the one before, and the sum of their times in ms. Requests
    that had no answer are not in it."""

    classes: Sequence[int] = (0,) * (len(BOUNDS) + 1)
    millis: int = 0

    @classmethod
    def sum(cls, parts: Iterable[Self]) -> Self:
        """The sum of times."""
        if not (known := list(parts)):
            return cls()
        classes = zip(*(part.classes for part in known), strict=True)
        return cls(tuple(map(sum, classes)), sum(part.millis for part in known))

    @property
    def answers(self) -> int:
        return sum(self.classes)

    @property
    def mean_ms(self) -> float | None:
        """None: there were no answers."""
        return self.millis / answers if (answers := self.answers) else None

    def percentile_ms(self, percent: float) -> float | None:
        """About the time within which so many percent of the answers came: in their class they count as evenly spread.
        Above the last bound it is that bound. None: there were no answers."""
        answers = self.answers
        if not answers:
            return None
        rank, before = answers * percent / 100, 0
        for low, high, count in zip((0, *BOUNDS), BOUNDS, self.classes, strict=False):
            if count and before + count >= rank:
                return low + (high - low) * (rank - before) / count
            before += count
        return float(BOUNDS[-1])
