"""An installation as the checks see it."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine

from dispatcher.db.heartbeat import API, DELIVERS, MAINTAINS, NO_FAULT, Asked, Fault, Heartbeat
from dispatcher.diagnosis.checks.listed import CHECKS
from dispatcher.diagnosis.findings import Finding, worst
from dispatcher.diagnosis.running import Patient, examined
from dispatcher.settings import Settings
from tests.installations import installation_for

Beats = Callable[..., Heartbeat]


def found_by(name: str, settings: Settings, **patient: Any) -> Sequence[Finding]:
    """What one check finds."""
    (check,) = [check for check in CHECKS if check.name == name]
    return examined(check.examine, Patient(installation_for(settings), **patient), check.place)


def level_of(name: str, settings: Settings, **patient: Any) -> str:
    return str(worst(found_by(name, settings, **patient)))


def beat(
    database: Engine, kind: str, doing: str = "parked", *, fault: Fault = NO_FAULT, asked: Asked | None = None
) -> Heartbeat:
    """A process that has just begun."""
    heartbeat = Heartbeat()
    for one in (asked, asked) if asked else (Asked(None),):  # the first one may only make the lease
        heartbeat.beat(database, kind, doing, one, fault=fault)
    return heartbeat


def all_alive(database: Engine) -> list[Heartbeat]:
    return [beat(database, kind) for kind in (API, DELIVERS, MAINTAINS)]
