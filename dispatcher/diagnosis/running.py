"""Runs checks side by side, each for a bounded time: none keeps another, and none fails them all."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import NamedTuple

from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from dispatcher.db.engines import Limits, make_engine
from dispatcher.diagnosis.findings import Finding, Level, fail, not_checked, worst
from dispatcher.diagnosis.readiness import what_fails
from dispatcher.installation import Installation

SECONDS = 5.0  # that a check may take
AT_ONCE = 4  # checks: each may have a connection of its own
_STATEMENT = SECONDS - 1  # so that the database gives up first, and says so
_STEP = 2  # to connect, for each host
_AWAY = 'docs/operations.md, "When something is away", says what happens meanwhile, and what to do'

Report = Mapping[str, Sequence[Finding]]  # by the check's name


@dataclass(frozen=True)
class Patient:
    """The installation that is looked at. `handshake`: a host to try TLS with; "" for that of the public URL."""

    installation: Installation
    handshake: str = ""

    @cached_property
    def engine(self) -> Engine:
        return reading_engine(self.installation, "dispatcher doctor", statement=_STATEMENT)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A new one, where each statement is its own transaction."""
        with self.engine.connect() as connection:
            yield connection


class Check(NamedTuple):
    """A check. `needs` names one that must not have failed: otherwise this one would only say the same again. `place`:
    where that is which it tries to use, without secrets."""

    group: str
    name: str
    examine: Callable[[Patient], Sequence[Finding]]
    needs: str = ""
    seconds: float = SECONDS
    place: Callable[[Patient], str] = lambda _: ""


def reading_engine(installation: Installation, name: str, *, statement: float) -> Engine:
    """Connections of their own for statements that only read, by indexes: the process's own may all be in use."""
    settings = installation.settings
    return make_engine(
        settings.database_url.get_secret_value(),
        application_name=name,
        pooler=settings.database_pooler,
        autocommit=True,
        plan_once=True,  # and so never reads a whole table
        limits=Limits(statement, lock=statement / 4),
        connect_seconds=_STEP,
        most_connections=0,
    )


@dataclass
class _Running:
    """The checks that run, each in a thread of its own: one that hangs is left to itself, and ends with the process."""

    patient: Patient
    done: "SimpleQueue[tuple[Check, Sequence[Finding]]]" = field(default_factory=SimpleQueue)
    ends: dict[Check, float] = field(default_factory=dict)  # monotonic

    def start(self, check: Check) -> None:
        self.ends[check] = monotonic() + check.seconds
        Thread(target=self._examine, args=(check,), name=check.name, daemon=True).start()

    def next(self) -> tuple[Check, Sequence[Finding]]:
        """The next one that has ended, or whose time is over."""
        while True:
            check = min(self.ends, key=self.ends.__getitem__)
            try:
                ended, found = self.done.get(timeout=max(0.0, self.ends[check] - monotonic()))
            except Empty:
                ended = check
                found = [fail(f"took more than {check.seconds:.0f} s", "see what it waits for, then run it again")]
            if self.ends.pop(ended, None) is not None:  # otherwise it is too late
                return ended, found

    def _examine(self, check: Check) -> None:
        self.done.put((check, examined(check.examine, self.patient, check.place)))


def examined(
    examine: Callable[[Patient], Sequence[Finding]], patient: Patient, place: Callable[[Patient], str] = lambda _: ""
) -> Sequence[Finding]:
    """What a check finds; an error is a finding, too."""
    try:
        return examine(patient)
    except Exception as error:  # noqa: BLE001 - the other checks go on; its text could contain values
        return [_of_error(error, place(patient))]


def _of_error(error: Exception, place: str) -> Finding:
    if isinstance(error, DBAPIError) and isinstance(error.orig, InsufficientPrivilege):
        return not_checked(
            f"this database role may not do that: {error.orig}", "use a role with that right to check it"
        )
    said = what_fails(error)
    return (
        fail(said, _AWAY if place else "", where=place)
        if said is not None
        else fail(f"the check itself failed: {type(error).__name__}", "report it")
    )


def run(checks: Sequence[Check], patient: Patient) -> Report:
    """What all checks find, in their order."""
    running, found = _Running(patient), dict[str, Sequence[Finding]]()
    because: dict[str, str] = {}  # of what is not checked: the check that failed
    waiting = deque(sorted(checks, key=lambda check: bool(check.needs)))
    while waiting or running.ends:
        while waiting and len(running.ends) < AT_ONCE and (not waiting[0].needs or waiting[0].needs in found):
            check = waiting.popleft()
            if check.needs and worst(found[check.needs]) in {Level.FAIL, Level.NOT_CHECKED}:
                because[check.name] = because.get(check.needs, check.needs)
                found[check.name] = [not_checked(f"not checked: see `{because[check.name]}`")]
            else:
                running.start(check)
        if running.ends:
            ended, findings = running.next()
            found[ended.name] = findings
    return {check.name: found[check.name] for check in checks}
