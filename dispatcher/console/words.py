"""Numbers and times as people write them, in the language and the time zone of whoever looks. Pure."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from gettext import NullTranslations

_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)Z")
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_FIVE_BELOW_TEN = 10


@dataclass(frozen=True, slots=True)
class Words:
    """How values are written on one page."""

    zone: tzinfo
    now: datetime
    translations: NullTranslations

    @property
    def text(self) -> Callable[[str], str]:
        """Translates a text."""
        return self.translations.gettext

    @property
    def zone_name(self) -> str:
        """The zone as it is written under the pages."""
        return getattr(self.zone, "key", "UTC")

    def number(self, value: float) -> str:
        """With commas; a fraction to one place."""
        return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"

    def percent(self, part: float, whole: float) -> str:
        """To one place. What is not everything is never 100, and what is not nothing is never 0."""
        if not whole:
            return "–"
        share = 100 * part / whole
        if part != whole:
            share = min(share, 99.9)
        if part:
            share = max(share, 0.1)
        return f"{share:.0f}" if part in {0, whole} else f"{share:.1f}"

    def moment(self, at: datetime) -> str:
        """The day, unless it is today, and the time."""
        local, today = self._local(at), self._local(self.now)
        if local.date() == today.date():
            return f"{local:%H:%M:%S}"
        day = f"{self.text(local.strftime('%a'))} {local.day} {self.text(local.strftime('%b'))}"
        return f"{day}, {local:%H:%M:%S}" if local.year == today.year else f"{day} {local.year}, {local:%H:%M:%S}"

    def tick(self, at: datetime, step: timedelta) -> tuple[str, bool]:
        """Below a chart whose bars are so far apart: the time, with its day, or the day alone; and whether it is a
        round one, so that it may stand there."""
        local = self._local(at)
        clock = f"{local:%H:%M}"
        if step >= timedelta(days=1):
            return f"{local.day} {self.text(local.strftime('%b'))}", True
        if step >= timedelta(hours=1):
            return f"{self.text(local.strftime('%a'))} {clock}", local.hour == 0
        return clock, local.minute == 0 and local.hour % 3 == 0 if step > timedelta(
            minutes=5
        ) else local.minute % 15 == 0

    def whole(self, at: datetime) -> str:
        """The same in UTC with all its parts, for a tooltip."""
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def ago(self, at: datetime) -> str:
        """As seen from now."""
        ahead = at - self.now
        if abs(ahead) < timedelta(seconds=1):
            return self.text("now")
        template = self.text("in {span}") if ahead > timedelta(0) else self.text("{span} ago")
        return template.format(span=self.span(abs(ahead)))

    def span(self, length: timedelta | float) -> str:
        """A span of time (or seconds), in at most two units; below a second in milliseconds."""
        seconds = length.total_seconds() if isinstance(length, timedelta) else length
        if seconds < 1:
            return self._of(round(seconds * 1000), "ms")
        if seconds < _FIVE_BELOW_TEN and seconds != int(seconds):
            return self._of(round(seconds, 1), "s")
        left, parts = int(seconds), []
        at = next(place for place, (_, size) in enumerate(_UNITS) if left >= size)
        for unit, size in _UNITS[at : at + 2]:
            count, left = divmod(left, size)
            if count:
                parts.append(self._of(count, unit))
        return " ".join(parts)

    def size(self, number: int) -> str:
        """Bytes."""
        for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
            if number >= bytes_:
                return f"{number / bytes_:,.1f}\N{NO-BREAK SPACE}{unit}"
        return f"{number}\N{NO-BREAK SPACE}B"

    def _local(self, at: datetime) -> datetime:
        """In the zone; the first and the last day of all have no other zones."""
        try:
            return at.astimezone(self.zone)
        except OverflowError:
            return at.astimezone(UTC)

    def _of(self, count: float, unit: str) -> str:
        return f"{count:,}\N{NO-BREAK SPACE}{self.text(unit)}"


def parts_of(sentence: str) -> Iterator[str | datetime]:
    """A sentence of an explanation in pieces: what it says, and the times in it, which pages show in their own form."""
    for at, part in enumerate(_TIME.split(sentence)):
        if at % 2:
            yield _time_of(part)
        elif part:
            yield part


def _time_of(text: str) -> str | datetime:
    """The time, or the text itself if there is none: sentences quote what others wrote."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return f"{text}Z"
