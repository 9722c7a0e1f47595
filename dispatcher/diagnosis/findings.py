"""What was found, and how bad it is. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is, from the best to the worst."""

    OK = "ok"
    NOT_CHECKED = "not_checked"
    WARN = "warn"  # somebody should look within a day
    FAIL = "fail"  # customers wait, or will soon


_ORDER = list(Level)


@dataclass(frozen=True, slots=True)
class Finding:
    """`says`: what was found; `where`: the host, table or webhook, if it is one of several; `advice`: what to do."""

    level: Level
    says: str
    advice: str = ""
    where: str = ""


def ok(says: str) -> Finding:
    return Finding(Level.OK, says)


def warn(says: str, advice: str, *, where: str = "") -> Finding:
    return Finding(Level.WARN, says, advice, where)


def fail(says: str, advice: str, *, where: str = "") -> Finding:
    return Finding(Level.FAIL, says, advice, where)


def not_checked(why: str, advice: str = "") -> Finding:
    return Finding(Level.NOT_CHECKED, why, advice)


def worst(findings: Sequence[Finding]) -> Level:
    return max((one.level for one in findings), key=_ORDER.index, default=Level.OK)


def within(value: float, warn_above: float, fail_above: float) -> Level:
    """The level of a figure."""
    return Level.FAIL if value > fail_above else Level.WARN if value > warn_above else Level.OK


def span(seconds: float) -> str:
    """A time as people say it, in one unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def amount(bytes_: float) -> str:
    """A size as people say it."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if bytes_ >= size:
            return f"{bytes_ / size:.1f} {unit}"
    return f"{bytes_ / 1e3:.0f} kB"
