"""A soak as a table: what grew, and what grew too much. Pure."""

from collections.abc import Iterator, Sequence
from math import inf

from tests.faults.soak.growth import Grown
from tests.faults.soak.quantities import BYTES, MB, Kind, kind_of

SMALL = {Kind.TABLE: MB, Kind.INDEX: MB, Kind.DEAD: 1.0}  # less than this from begin to end is not shown


def table(grown: Sequence[Grown]) -> Iterator[str]:
    """Its lines."""
    shown = [one for one in grown if one.too_much or max(one.first, one.last) >= SMALL.get(kind_of(one.name), 0.0)]
    width = max((len(label(one)) for one in shown), default=0)
    yield f"{'':{width}} {'first third':>12} {'median':>12} {'last third':>12} {'an hour':>12}"
    for one in shown:
        kind = kind_of(one.name)
        scale = MB if kind in BYTES else 1.0
        cells = (one.first, one.middle, one.last)
        figures = " ".join(f"{_figure(value / scale):>12}" for value in cells)
        verdict = "  TOO MUCH" if one.too_much else "  by design" if one.limit == inf and kind in SMALL else ""
        yield f"{label(one):{width}} {figures} {_signed(one.an_hour / scale):>12}{verdict}".rstrip()


def label(one: Grown) -> str:
    """The name of a quantity with its unit."""
    unit = {Kind.LATE: ", s"}.get(kind_of(one.name), ", MB" if kind_of(one.name) in BYTES else "")
    return one.name + unit


def _figure(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _figure(value)
