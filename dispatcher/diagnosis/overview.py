"""How the installation does at this moment: what `dispatcher status` shows. A few statements, each for a bounded number
of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from dispatcher.diagnosis import statements
from dispatcher.diagnosis.checks.engine import overdue_leases, processes_in, work_of
from dispatcher.diagnosis.findings import Finding, Level
from dispatcher.diagnosis.judging import engine as judging
from dispatcher.diagnosis.judging.engine import Process, Quarantined, Work
from dispatcher.diagnosis.oldest_due import Round
from dispatcher.ids import first_id_at, time_of
from dispatcher.states import State
from dispatcher.version import __version__

_NOW = text("SELECT now()")


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second: events stored, messages that receivers acknowledged, and messages of requests that failed."""

    accepted: float
    delivered: float
    failed: float


@dataclass(frozen=True, slots=True)
class Failing:
    """A webhook whose last request failed. `trial_in`: seconds to the next trial request of an open circuit."""

    account: str
    webhook: str
    webhook_id: UUID
    failures: int
    failing_for: float
    circuit_open: bool
    trial_in: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """`failing`: those that fail most. Times in seconds."""

    at: datetime
    processes: Sequence[Process]
    open: dict[str, int]  # deliveries by state; above 10,000 about
    work: Work
    notices: dict[str, int]
    rates: Rates
    failing_count: int
    circuits_open: int
    failing: Sequence[Failing]
    quarantined_webhooks: Sequence[tuple[str, str]]
    quarantined_notices: Quarantined | None
    leases: dict[str, float]  # for how long each has been due

    @property
    def problems(self) -> list[Finding]:
        """What `dispatcher doctor` would say of the same."""
        found = [
            *judging.heartbeats(self.processes),
            *judging.host_faults(self.processes),
            *judging.leases(self.leases),
            *judging.backlog(self.work),
            judging.versions(self.processes, __version__),
            *judging.quarantine(self.quarantined_webhooks, self.quarantined_notices),
        ]
        return sorted(
            (one for one in found if one.level in {Level.WARN, Level.FAIL}), key=lambda one: one.level is Level.WARN
        )


def read_overview(connection: Connection, oldest_due: Round) -> Overview:
    """On a connection of `reading_engine`."""
    now: datetime = connection.execute(_NOW).scalar_one()
    work = connection.execute(statements.WORK).one()
    failing = connection.execute(statements.FAILING).all()
    webhooks = [(str(row.id), row.quarantined_reason) for row in connection.execute(statements.QUARANTINED)]
    notices = connection.execute(statements.QUARANTINED_NOTICES).one_or_none()
    return Overview(
        at=now,
        processes=processes_in(connection),
        open={state: getattr(work, f"open_{state}") for state in (State.READY, State.CLAIMED, State.WAITING)},
        work=work_of(work, oldest_due.look(connection)),
        notices={"now": work.now, "failed": work.failed, "held_back": work.held_back},
        rates=_rates(connection, now),
        failing_count=failing[0].all_failing if failing else 0,
        circuits_open=work.circuits_open,
        failing=[_failing(row) for row in failing],
        quarantined_webhooks=webhooks,
        quarantined_notices=Quarantined(*notices) if notices else None,
        leases=overdue_leases(connection),
    )


def _rates(connection: Connection, now: datetime) -> Rates:
    since = first_id_at(now - timedelta(seconds=statements.RATE_SECONDS))
    row = connection.execute(statements.RATES, {"since": since}).one()
    of_events, of_requests = _seconds(row.events, row.first_event, now), _seconds(row.requests, row.first_request, now)
    return Rates(row.events / of_events, float(row.delivered) / of_requests, float(row.failed) / of_requests)


def _seconds(counted: int, first: UUID | None, now: datetime) -> float:
    """In what time they came."""
    if first is None or counted < statements.RATED:
        return statements.RATE_SECONDS
    return max(0.1, (now - time_of(first)).total_seconds())


def _failing(row: Any) -> Failing:
    trial_in = max(0.0, float(row.trial_in)) if row.is_open and row.trial_in is not None else None
    return Failing(
        row.account, row.webhook, row.webhook_id, row.failures, float(row.failing_for), row.is_open, trial_in
    )
