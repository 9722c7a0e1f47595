"""Charts as SVG: made here, so that they need no script, can be printed, and have the page's own words and zone. Below
each is the same as a table. Pure.

The only place where markup is put together: everything in it is a number, or escaped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

HEIGHT, TOP, FOOT, LEFT = 168, 14, 22, 48
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, which stands below it if it is a round one, and the number of each kind, in the order of the
    stack."""

    label: str
    counts: Mapping[str, int]
    is_round: bool = True

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def bars(series: Sequence[Bar], says: str, *, width: int, labels: int, narrow: bool = False) -> Markup:
    """Stacked bars. `says` is for those who do not see them; so many `labels` stand below at most."""
    area, grid = _axis(max((bar.total for bar in series), default=0), width, short)
    return _drawn([*grid, *_stacked(series, area), *_feet(series, width, labels)], says, width, narrow=narrow)


@dataclass(frozen=True, slots=True)
class Dots:
    """One point in time, labelled as a Bar, and the value of each line; None: there is none."""

    label: str
    values: Mapping[str, float | None]
    is_round: bool = True


def lines(series: Sequence[Dots], says: str, *, width: int, labels: int, narrow: bool = False) -> Markup:
    """Lines of times in milliseconds, with gaps where there is no value. As `bars`."""
    most = max((value for dots in series for value in dots.values.values() if value is not None), default=0)
    area, grid = _axis(math.ceil(most), width, short_time)
    pitch = (width - LEFT) / max(len(series), 1)
    paths = []
    for kind in series[0].values if series else ():
        moves, joined = "", False
        for at, dots in enumerate(series):
            value = dots.values[kind]
            if value is not None:
                x, y = _px(LEFT + pitch * (at + 0.5)), _px(area.floor - area.height * value / area.top)
                moves += f"L{x} {y}" if joined else f"M{x} {y}h.01"  # so one alone is a dot
            joined = value is not None
        paths.append(Markup('<path class="l-{}" d="{}"/>').format(kind, moves))
    return _drawn([*grid, *paths, *_feet(series, width, labels)], says, width, narrow=narrow)


def spark(series: Sequence[Bar], *, width: int = 96, height: int = 22) -> Markup:
    """The same without axes, for a line of a table, which says it in numbers as well."""
    most = max((bar.total for bar in series), default=0)
    paths = _stacked(series, _Area(0, width, height, height, max(most, 1)))
    return Markup('<svg class="spark" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        width, height, Markup("").join(paths)
    )


def _axis(most: int, width: int, written: Callable[[int], str]) -> "tuple[_Area, list[Markup]]":
    """Where a chart stands that goes up to `most`, and its lines with their values, so `written`."""
    step = nice_step(most)
    top = max(step * -(-most // step), step)
    floor, high = HEIGHT - FOOT, HEIGHT - FOOT - TOP
    grid = []
    for value in range(0, top + 1, step):
        y = floor - high * value / top
        grid.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(LEFT, width, _px(y), _px(y), LEFT - 8, _px(y + 4), written(value))
        )
    return _Area(LEFT, width, floor, high, top), grid


def _feet(series: Sequence[Bar | Dots], width: int, labels: int) -> list[Markup]:
    """So many of the round labels at most, below."""
    named = [at for at, one in enumerate(series) if one.is_round]
    every = max(1, -(-len(named) // labels))
    pitch = (width - LEFT) / max(len(series), 1)
    return [
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            _px(LEFT + pitch * (at + 0.5)), HEIGHT - 4, series[at].label
        )
        for at in named[every // 2 :: every]
    ]


def _drawn(parts: Sequence[Markup], says: str, width: int, *, narrow: bool) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        "narrow" if narrow else "wide", width, HEIGHT, says, Markup("").join(parts)
    )


@dataclass(frozen=True, slots=True)
class _Area:
    """Where bars stand, in pixels; a bar of `top` is as high as it."""

    left: float
    right: float
    floor: float
    height: float
    top: int


def _stacked(series: Sequence[Bar], area: _Area) -> list[Markup]:
    """One path for each kind. What is there at all is at least a pixel high."""
    pitch = (area.right - area.left) / max(len(series), 1)
    wide = max(pitch - (2 if pitch > 6 else 1), 1)
    drawn: dict[str, list[str]] = {}
    for at, bar in enumerate(series):
        x, y = area.left + at * pitch + (pitch - wide) / 2, area.floor
        for kind, number in bar.counts.items():
            if number:
                tall = max(area.height * number / area.top, 1)
                drawn.setdefault(kind, []).append(f"M{_px(x)} {_px(y)}h{_px(wide)}v-{_px(tall)}h-{_px(wide)}z")
                y -= tall
    return [Markup('<path class="s-{}" d="{}"/>').format(kind, "".join(moves)) for kind, moves in drawn.items()]


def nice_step(most: int) -> int:
    """Between two lines: 1, 2 or 5 times a power of ten, so that there are few."""
    power = 1
    while most > 5 * power * _TICKS:
        power *= 10
    return next(step for step in (power, 2 * power, 5 * power) if most <= step * _TICKS)


def short(value: int) -> str:
    """A number beside a line."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return str(value)


def short_time(ms: int) -> str:
    """Milliseconds beside a line."""
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms} ms" if ms else "0"


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
