"""`/system`: does the engine run? What `dispatcher doctor` checks of database, broker and processes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from starlette.responses import Response

from dispatcher.console.frame import Pages, Reading
from dispatcher.console.looks import looks_of
from dispatcher.diagnosis.checks.listed import CHECKS
from dispatcher.diagnosis.findings import Finding, Level, worst
from dispatcher.diagnosis.judging.engine import Process
from dispatcher.diagnosis.running import Check, Patient, run
from dispatcher.version import __version__

_LEFT_OUT = {"outside", "settings"}  # what needs a process of its own, calls others, or names this process's settings
_CHECKED = tuple(check for check in CHECKS if check.group not in _LEFT_OUT and check.name != "claim")

pages = Pages()


@dataclass(frozen=True, slots=True)
class Group:
    """Living processes of one kind, host and version, that began from `since` on, and what they do."""

    kind: str
    host: str
    version: str
    number: int
    since: datetime
    doing: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    check: Check
    level: Level
    findings: Sequence[Finding]


@pages.get("/system")
def get_system(view: Reading) -> Response:
    looks = looks_of(view.installation)
    overview = looks.overview()
    report = looks.fresh("checks", lambda: run(_CHECKED, Patient(view.installation)))
    return view.page(
        "system.html",
        version=__version__,
        overview=overview,
        groups=_groups(overview.processes),
        checks=sorted(
            (Checked(check, worst(report[check.name]), report[check.name]) for check in _CHECKED),
            key=lambda one: list(Level).index(one.level),
            reverse=True,  # what needs somebody comes first
        ),
    )


def _groups(processes: Sequence[Process]) -> list[Group]:
    def key(one: Process) -> tuple[str, str, str]:
        return one.kind, one.host, one.version

    found = []
    for (kind, host, version), same in groupby(sorted((one for one in processes if one.lives), key=key), key=key):
        group = list(same)
        doing = Counter(one.doing for one in group)
        words = ", ".join(f"{number} {what}" if number > 1 else what for what, number in sorted(doing.items()))
        fault = next((one.fault for one in group if one.fault), None)
        found.append(Group(kind, host, version, len(group), min(one.started_at for one in group), words, fault))
    return found
