"""Spans of time: which are kept, for how long, and how far apart the points of a series can be. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from dispatcher.errors import InvalidFilter

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Minutes of a row's span -> how long such rows are kept. Spans begin at multiples of themselves, in UTC.
FINE, HOUR, DAY = 5, 60, 1440
KEPT = {FINE: timedelta(hours=48), HOUR: timedelta(days=35), DAY: timedelta(days=400)}


MOST_POINTS = 300  # that somebody can ask for with a step of his own; days are so few that there are always all


class Step(StrEnum):
    """How far apart the points of a series are."""

    MINUTES_5 = "5m"
    MINUTES_15 = "15m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]

    @property
    def span(self) -> int:
        """The longest span of rows that it is made of, in minutes."""
        return FINE if self is Step.MINUTES_15 else int(self.length / timedelta(minutes=1))


_LENGTHS = {
    Step.MINUTES_5: timedelta(minutes=5),
    Step.MINUTES_15: timedelta(minutes=15),
    Step.HOUR: timedelta(hours=1),
    Step.DAY: timedelta(days=1),
}
# Up to such a length a series has such a step, unless its reader wants another.
_USUAL = {timedelta(hours=3): Step.MINUTES_5, timedelta(hours=48): Step.MINUTES_15, timedelta(days=8): Step.HOUR}


def floor(moment: datetime, length: timedelta) -> datetime:
    """The last multiple of `length` that is not after a moment."""
    return EPOCH + (moment - EPOCH) // length * length


@dataclass(frozen=True, slots=True)
class Times:
    """The times of a series: points from `since` on and before `until`, a step apart."""

    since: datetime
    until: datetime
    step: Step

    @classmethod
    def of(
        cls, now: datetime, since: datetime | None = None, until: datetime | None = None, step: Step | None = None
    ) -> Self:
        """As asked for, rounded to whole steps so that all of that is in it; the last 24 hours if nothing is said.
        Raises InvalidFilter for times that have no counts of this step."""
        end = min(until or now, now)
        begin = since or end - min(timedelta(hours=24), end - EPOCH)
        if begin >= end:
            raise InvalidFilter("since", "must be before `until`, and in the past")
        wanted = step or _usual(begin, end, now)
        back = KEPT[wanted.span]
        if begin < now - back - wanted.length:
            raise InvalidFilter("since", f"counts by {wanted} are kept for {_words(back)}")
        times = cls._around(begin, end, wanted)
        if not times._are_few:
            finer = (cls._around(begin, end, step) for step in Step if begin >= now - KEPT[step.span])
            finest = next(times.step for times in finer if times._are_few)
            wrong = f"makes {len(times.points)} points, more than {MOST_POINTS}"
            raise InvalidFilter("step", f"{wrong}: ask for a shorter time, or by {finest}, the finest for this one")
        return times

    @classmethod
    def _around(cls, begin: datetime, end: datetime, step: Step) -> Self:
        """Whole steps, with all of that in them."""
        last = floor(end - timedelta.resolution, step.length)
        return cls(floor(begin, step.length), last + step.length, step)

    @property
    def _are_few(self) -> bool:
        return self.step is Step.DAY or len(self.points) <= MOST_POINTS

    @property
    def points(self) -> list[datetime]:
        """When each point begins."""
        count = (self.until - self.since) // self.step.length
        return [self.since + number * self.step.length for number in range(count)]


def _usual(begin: datetime, end: datetime, now: datetime) -> Step:
    for length, step in _USUAL.items():
        if end - begin <= length and begin >= now - KEPT[step.span]:
            return step
    return Step.HOUR if end - begin <= timedelta(days=8) and begin >= now - KEPT[HOUR] else Step.DAY


def _words(kept: timedelta) -> str:
    return f"{kept.days} days" if kept.days > 2 else f"{int(kept / timedelta(hours=1))} hours"
