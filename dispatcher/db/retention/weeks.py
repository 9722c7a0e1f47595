"""Removes whole weeks, which are partitions, so that nobody waits for a lock for more than a second, whoever reads.

A week is detached beside its readers and then dropped. That is for the tables' owner: whoever is not, and calls the
owner's functions, keeps others out for a moment. What was begun is marked in the database, in a comment on the week's
table: whoever dies in between, the next round goes on, and a table that an operator has detached stays.
"""
# ruff: noqa: S608 - composed of constants and of the names of our tables

import re
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from psycopg2.errors import (
    DeadlockDetected,
    InsufficientPrivilege,
    LockNotAvailable,
    ObjectNotInPrerequisiteState,
    QueryCanceled,
)
from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

from dispatcher.db.partitions import LOCK_TIMEOUT, PARTITIONED, Partition, attach_partition, partitions_of
from dispatcher.db.poolers import POOLED
from dispatcher.states import CLOSED, State

LOOK_TIMEOUT = "10s"  # for open deliveries of a week
LOCK_OF_ALL_TIMEOUT = "200ms"  # where everybody queues up behind the lock
_MARK = "dispatcher removes this week: "

OPEN = "events of that week are still to be delivered"


class Removal(NamedTuple):
    """How many weeks were removed, and which stay for now: name and why."""

    removed: int
    left: dict[str, str]


class _Begun(NamedTuple):
    """A week that is marked."""

    week: Partition
    is_attached: bool
    is_pending: bool  # it is being detached: nobody sees it any more


def remove_weeks(engine: Engine, older_than: dict[str, UUID], until: float) -> Removal:
    """Goes on with weeks that were begun, and removes those of these tables that end at these ids or before, the
    oldest first. After `until` (monotonic) the rest is left to the next round. Raises what only a defect or an outage
    raises."""
    with engine.connect() as connection:
        begun = _begun(connection)
        due = [
            week
            for table, end in older_than.items()
            for week in partitions_of(connection, table)
            if week.end <= end and week not in [one.week for one in begun]
        ]
    wanted = [one.week for one in begun if not one.is_attached or one.is_pending or _is_due(one.week, older_than)]
    for one in begun:
        if one.week not in wanted:  # the time was made longer meanwhile
            _left(one.week, partial(_unmark, engine, one.week))
    removed, left, stuck = 0, dict[str, str](), set[str]()
    for week in wanted + due:
        if monotonic() >= until:
            break
        if week.table in stuck:  # who reads this table holds up all its weeks
            continue
        why = _left(week, partial(_remove, engine, week))
        removed += why is None
        if why is not None:
            left[week.name] = why
            stuck |= {week.table} if why != OPEN else set()
    return Removal(removed, left)


def has_open_deliveries(connection: Connection, week: Partition) -> bool:
    """Whether events of a week are still to be delivered. For the caller's transaction, no table is read as a whole."""
    # There are millions of deliveries, and the planner hopes that the first of them is open.
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    return bool(connection.scalar(_HAS_OPEN, {"first": week.first, "end": week.end}))


def _is_due(week: Partition, older_than: dict[str, UUID]) -> bool:
    return week.table in older_than and week.end <= older_than[week.table]


def _left(week: Partition, action: Callable[[], str | None]) -> str | None:
    """Does something to a week. Returns why it was left, if it was."""
    try:
        return action()
    except DBAPIError as error:
        match error.orig:
            case LockNotAvailable() | DeadlockDetected() | QueryCanceled():
                return f"{week.table} is in use" + (
                    " or has very many open deliveries" if week.table == "events" else ""
                )
            case InsufficientPrivilege():
                return (
                    f"this user may not change {week.table}: run the SQL of `dispatcher roles --print`, or let the"
                    " owner run `dispatcher retention` every month"
                )
            case ObjectNotInPrerequisiteState():
                return f"another partition of {week.table} is being detached: end that with FINALIZE"
        raise


def _remove(engine: Engine, week: Partition) -> str | None:
    with engine.connect() as connection:
        state = next((one for one in _begun(connection) if one.week == week), None)
    if state is None or (state.is_attached and not state.is_pending):
        if _is_open(engine, week):
            return OPEN
        if _goes_beside_readers(engine, week):
            _mark(engine, week)
            _detach(engine, week)
        else:
            _call(engine, _DETACH, week, LOCK_OF_ALL_TIMEOUT)
    elif state.is_attached:
        _call(engine, _DETACH, week, LOCK_TIMEOUT)
    # From now on nobody can open a delivery of this week again: its events cannot be found.
    if _is_open(engine, week):
        _take_back(engine, week)
        return OPEN
    _call(engine, _DROP, week, LOCK_TIMEOUT)
    return None


def _is_open(engine: Engine, week: Partition) -> bool:
    if week.table != "events":
        return False
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL statement_timeout = '{LOOK_TIMEOUT}'"))
        return has_open_deliveries(connection, week)


def _goes_beside_readers(engine: Engine, week: Partition) -> bool:
    """Whether a week can be detached CONCURRENTLY. That needs its owner, a session of its own, and a table without a
    default partition."""
    with engine.connect() as connection:
        can = connection.scalar(_CAN_BE_BESIDE, {"table": f"dispatcher.{week.table}"})
        return bool(can) and POOLED not in connection.info


def _mark(engine: Engine, week: Partition) -> None:
    mark = f"'{_MARK}{week.table} {week.first} {week.end}'"
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"COMMENT ON TABLE dispatcher.{week.name} IS {mark}"))


def _unmark(engine: Engine, week: Partition) -> str | None:
    _call(engine, _KEEP, week, LOCK_TIMEOUT)
    return None


def _call(engine: Engine, function: TextClause, week: Partition, timeout: str) -> None:
    """Calls one of the owner's functions for a week."""
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{timeout}'"))
        connection.execute(function, {"table": week.table, "week": week.name})


def _detach(engine: Engine, week: Partition) -> None:
    """Each lock, and each reader, is waited for for a moment; what is not done by then is gone on with in the next
    round."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(text(f"SET statement_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(
                text(f"ALTER TABLE dispatcher.{week.table} DETACH PARTITION dispatcher.{week.name} CONCURRENTLY")
            )
        finally:
            if not connection.invalidated:
                connection.execute(text("RESET lock_timeout"))
                connection.execute(text("RESET statement_timeout"))


def _take_back(engine: Engine, week: Partition) -> None:
    """Attaches a week again: one of its deliveries was opened again at the last moment."""
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        attach_partition(connection, week, week.name)


def _begun(connection: Connection) -> list[_Begun]:
    found = []
    for row in connection.execute(_MARKED, {"mark": _MARK}):
        if match := re.fullmatch(rf"({'|'.join(PARTITIONED)}) (\S+) (\S+)", row.mark.removeprefix(_MARK)):
            table, first, end = match.groups()
            week = Partition(table, row.name, UUID(first), UUID(end))
            found.append(_Begun(week, row.is_attached, bool(row.is_pending)))
    return found


_MARKED = text("""
SELECT c.relname AS name, d.description AS mark, c.relispartition AS is_attached, i.inhdetachpending AS is_pending
FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relnamespace = 'dispatcher'::regnamespace AND c.relkind = 'r' AND starts_with(d.description, :mark)
ORDER BY c.relname
""")
_CAN_BE_BESIDE = text("""
SELECT pg_has_role(c.relowner, 'USAGE') AND NOT EXISTS (
  SELECT 1 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid
  WHERE i.inhparent = c.oid AND pg_get_expr(p.relpartbound, p.oid) = 'DEFAULT')
FROM pg_class c WHERE c.oid = to_regclass(:table)
""")
# With the rights of the tables' owner.
_DETACH = text("SELECT dispatcher.detach_week_v1(:table, :week)")
_DROP = text("SELECT dispatcher.drop_week_v1(:week)")
_KEEP = text("SELECT dispatcher.keep_week_v1(:week)")
# One state at a time: each open one has its own index, and there is one by event.
_HAS_OPEN = text(
    "SELECT "
    + " OR ".join(
        f"EXISTS (SELECT 1 FROM dispatcher.deliveries WHERE state = '{state}'"
        " AND event_id >= CAST(:first AS uuid) AND event_id < CAST(:end AS uuid))"
        for state in State
        if state not in CLOSED
    )
)
