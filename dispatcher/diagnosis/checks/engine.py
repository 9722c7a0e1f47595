"""The engine's processes and what waits for them, as the database knows them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from dispatcher.diagnosis import statements
from dispatcher.diagnosis.findings import Finding
from dispatcher.diagnosis.judging import engine as judging
from dispatcher.diagnosis.judging.engine import Process, Quarantined, Work
from dispatcher.diagnosis.oldest_due import Round
from dispatcher.diagnosis.running import Patient
from dispatcher.ids import time_of
from dispatcher.version import __version__

LOOKS = 10  # for the oldest due delivery, each at a thousand webhooks


def processes_in(connection: Connection) -> list[Process]:
    """Those that the database knows, the newest first."""
    return [
        Process(
            row.kind,
            row.host,
            row.pid,
            row.version,
            time_of(row.id),
            row.started_at,
            float(row.age),
            row.doing,
            row.fault,
            float(row.fault_for),
        )
        for row in connection.execute(statements.ALL_PROCESSES)
    ]


def work_of(row: Any, oldest_due: float) -> Work:
    """What `statements.WORK` has found."""
    return Work(oldest_due, float(row.retry_overdue), row.expired_claims, row.suspects, float(row.oldest))


def overdue_leases(connection: Connection) -> dict[str, float]:
    """By lease, for how many seconds it has been due."""
    return {row.name: float(row.overdue) for row in connection.execute(statements.LEASES)}


def heartbeats(patient: Patient) -> Sequence[Finding]:
    return judging.heartbeats(_processes(patient))


def versions(patient: Patient) -> Sequence[Finding]:
    return [judging.versions(_processes(patient), __version__)]


def host_faults(patient: Patient) -> Sequence[Finding]:
    return judging.host_faults(_processes(patient))


def host_clocks(patient: Patient) -> Sequence[Finding]:
    return judging.host_clocks(_processes(patient))


def leases(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        return judging.leases(overdue_leases(connection))


def backlog(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        work = connection.execute(statements.WORK).one()
        looks = Round()
        for _ in range(LOOKS):
            oldest = looks.look(connection)
            if looks.is_done:
                break
    return judging.backlog(work_of(work, oldest))


def quarantine(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        webhooks = [(str(row.id), row.quarantined_reason) for row in connection.execute(statements.QUARANTINED)]
        notices = connection.execute(statements.QUARANTINED_NOTICES).one_or_none()
    return judging.quarantine(webhooks, Quarantined(*notices) if notices else None)


def _processes(patient: Patient) -> list[Process]:
    with patient.connection() as connection:
        return processes_in(connection)
