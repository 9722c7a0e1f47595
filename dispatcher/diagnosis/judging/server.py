"""Pure. Whether the database's server does well: its connections, old snapshots, what it cannot remove."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from dispatcher.diagnosis.findings import Finding, Level, amount, fail, ok, span, warn, within

FULL = 0.8, 0.95  # of the connections
OLD_SNAPSHOT = 900.0, 7_200.0  # seconds
HELD_WAL = 5e9, 50e9  # bytes
OLD_ROWS = 1_000_000_000, 1_800_000_000  # transactions; at 2,100 million the server stops
MUCH_DEAD, DEAD_SHARE = 50_000, 0.2  # rows, and the part of the living ones


class Snapshot(NamedTuple):
    """The oldest transaction that keeps vacuum from removing rows."""

    seconds: float
    pid: int
    name: str


class Slot(NamedTuple):
    """A replication slot, and the bytes of WAL that it holds."""

    name: str
    active: bool
    held: float
    lost: bool


class Rows(NamedTuple):
    """What PostgreSQL counts of a table."""

    table: str
    live: int
    dead: int
    vacuumed_at: datetime | None
    is_off: bool  # its autovacuum


def connections(used: int, limit: int) -> Finding:
    says = f"{used} of {limit} connections are used"
    level = within(used / max(1, limit), *FULL)
    if level is Level.OK:
        return ok(says)
    return Finding(level, says, "use a pooler, start fewer processes, or raise max_connections")


def snapshot(oldest: Snapshot | None, prepared: int, *, sees_all: bool) -> list[Finding]:
    """`sees_all`: those of all roles, not only of this one."""
    found = []
    if prepared:
        says = f"{prepared} transactions are prepared (two-phase) and not ended"
        found.append(warn(says, "end them: ROLLBACK PREPARED; pg_prepared_xacts lists them"))
    hidden = "" if sees_all else "; those of other roles are hidden (GRANT pg_read_all_stats shows them)"
    if oldest is None:
        return [*found, ok(f"no other transaction is open{hidden}")]
    says = f"the oldest open transaction has taken {span(oldest.seconds)}{hidden}"
    level = within(oldest.seconds, *OLD_SNAPSHOT)
    if level is Level.OK:
        return [*found, ok(says)]
    advice = f"each claim gets slower: end it with SELECT pg_terminate_backend({oldest.pid})"
    return [*found, Finding(level, says, advice, oldest.name or f"pid {oldest.pid}")]


def slots(found: Sequence[Slot]) -> list[Finding]:
    bad = []
    for slot in found:
        level = within(slot.held, *HELD_WAL)
        if slot.lost:
            bad.append(
                warn(
                    "has lost its WAL: its replica is of no use",
                    "drop the slot, make the replica anew",
                    where=slot.name,
                )
            )
        elif level is not Level.OK:
            state = "" if slot.active else ", and nobody reads it"
            advice = "bring its reader back, or drop it: SELECT pg_drop_replication_slot('...')"
            bad.append(Finding(level, f"holds {amount(slot.held)} of WAL{state}", advice, slot.name))
    return bad or [ok(f"replication slots: {len(found)}, none holds much WAL" if found else "no replication slots")]


def bloat(tables: Sequence[Rows], *, is_on: bool, oldest: int, now: datetime) -> list[Finding]:
    """`oldest`: how many transactions ago the oldest row was frozen."""
    found = []
    if not is_on:
        found.append(fail("autovacuum is off", "set autovacuum = on and track_counts = on"))
    if (level := within(oldest, *OLD_ROWS)) is not Level.OK:
        advice = "run VACUUM FREEZE: at 2,100 million the server takes no writes"
        found.append(Finding(level, f"the oldest rows are {oldest / 1e6:,.0f} million transactions old", advice))
    for one in tables:
        if one.is_off:
            advice = f"ALTER TABLE dispatcher.{one.table} RESET (autovacuum_enabled)"
            found.append(warn("autovacuum is off for this table", advice, where=one.table))
        elif one.dead > MUCH_DEAD and one.dead > DEAD_SHARE * one.live:
            last = f"{span((now - one.vacuumed_at).total_seconds())} ago" if one.vacuumed_at else "never"
            says = f"{one.dead:,} dead rows beside {one.live:,} living ones; vacuumed {last}"
            advice = "look for an old snapshot and for locks, or give autovacuum more workers"
            found.append(warn(says, advice, where=one.table))
    most = max(tables, key=lambda one: one.dead, default=None)
    return found or [ok(f"most dead rows: {most.dead:,}, in {most.table}" if most else "no tables with dead rows")]
