"""Draws the samples of a soak as curves in an SVG file: a panel for each kind of quantity. Of indexes, it
shows those that should not grow. Pure, except for writing."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from tests.faults.soak.growth import Sample
from tests.faults.soak.quantities import BYTES, MB, Kind, is_history, kind_of

_WIDE, _HIGH, _LEGEND, _LINE, _TOP = 560, 150, 250, 14, 26
_COLOURS = ("#2a6f97", "#c8553d", "#588157", "#8a5a9e", "#b08900", "#3d405b", "#0f8b8d", "#a23b72", "#6c757d")
_MOST = len(_COLOURS)  # curves of a panel: those that reach highest


def draw(samples: Sequence[Sample], table_of: Mapping[str, str], path: Path) -> None:
    """Writes the file. `table_of`: index -> its table."""
    panels = []
    top = 0
    for kind in Kind:
        names = _names(samples, kind, table_of)
        high = max(_HIGH, _LINE * len(names)) + _TOP + 20
        panels.append(f'<g transform="translate(60,{top})">' + "".join(_panel(samples, kind, names)) + "</g>")
        top += high
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{60 + _WIDE + _LEGEND}" height="{top}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        + "\n".join(panels)
        + "</svg>\n"
    )


def _names(samples: Sequence[Sample], kind: Kind, table_of: Mapping[str, str]) -> list[str]:
    highest: dict[str, float] = {}
    for sample in samples:
        for name, value in sample.values.items():
            if kind_of(name) is kind and not (kind is Kind.INDEX and is_history(name, table_of)):
                highest[name] = max(value, highest.get(name, 0))
    return sorted(highest, key=lambda name: -highest[name])[:_MOST]


def _panel(samples: Sequence[Sample], kind: Kind, names: Sequence[str]) -> Iterator[str]:
    scale = MB if kind in BYTES else 1
    most = max((s.values[name] for s in samples for name in names if name in s.values), default=0) / scale or 1
    minutes = samples[-1].at / 60
    unit = {Kind.LATE: ", seconds"}.get(kind, ", MB" if kind in BYTES else "")
    yield f'<text x="0" y="16" font-weight="bold">{kind.capitalize()}{unit}</text>'
    yield f'<path d="M0 {_TOP}V{_TOP + _HIGH}H{_WIDE}" fill="none" stroke="#222"/>'
    for share in (0.5, 1):
        y = _TOP + _HIGH * (1 - share)
        yield f'<path d="M0 {y:.1f}H{_WIDE}" stroke="#ddd"/>'
        yield f'<text x="-5" y="{y + 4:.1f}" text-anchor="end">{_figure(most * share)}</text>'
    yield f'<text x="{_WIDE}" y="{_TOP + _HIGH + 13}" text-anchor="end">{minutes:.3g} minutes</text>'
    for number, name in enumerate(names):
        points = " ".join(
            f"{s.at / samples[-1].at * _WIDE:.1f},{_TOP + _HIGH * (1 - s.values[name] / scale / most):.1f}"
            for s in samples
            if name in s.values
        )
        yield f'<polyline points="{points}" fill="none" stroke="{_COLOURS[number]}" stroke-width="1.3"/>'
        what = escape(name.partition(": ")[2])
        yield f'<text x="{_WIDE + 10}" y="{_TOP + 8 + _LINE * number}" fill="{_COLOURS[number]}">{what}</text>'


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
