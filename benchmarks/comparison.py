"""Two runs side by side, from their JSON documents."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

NOISE = 0.25  # repeated runs differ by this much on a shared machine


def comparison(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """Every figure that both runs have; a change beyond noise is marked."""
    shown = Table(title=f"{before['about'].get('commit', 'before')} -> {after['about'].get('commit', 'after')}")
    shown.add_column("figure")
    for heading in ("before", "after", "after / before"):
        shown.add_column(heading, justify="right")
    for name, old, new in common_figures(before, after):
        ratio = new / old if old else float("nan")
        mark = " !" if abs(ratio - 1) > NOISE else "  "
        shown.add_row(name, f"{old:,.4g}", f"{new:,.4g}", f"{ratio:.2f}{mark}")
    return shown


def common_figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(measure.figure, before, after) of the medians that both runs have."""
    for measure, found in before["measures"].items():
        later = after["measures"].get(measure, {}).get("median", {})
        for figure, value in found["median"].items():
            if figure in later:
                yield f"{measure}.{figure}", value, later[figure]
