"""Rounds that make the partitions which are missing, 8 weeks ahead."""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from time import monotonic
from typing import NamedTuple

from psycopg2.errors import DeadlockDetected, InsufficientPrivilege, LockNotAvailable, QueryCanceled
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from dispatcher.db.default_partitions import default_partitions, detach_default, move_partition, over_partition
from dispatcher.db.partitions import Partition, create_partition, missing_partitions

log = logging.getLogger("dispatcher.db.partitions")

MOVE_SECONDS = 15.0  # what upkeep takes for rows in default partitions
_HOLDS_ROWS = "the default partition of {} holds rows of this week, which are moved when it is over"


class PartitionRound(NamedTuple):
    """The result of one round, as counts. The next round tries again what was left."""

    made: int
    left: int


def create_partitions(engine: Engine, now: datetime, *, move_seconds: float = MOVE_SECONDS) -> PartitionRound:
    """Makes the missing partitions, each in its own transaction, and takes away default partitions: moving rows takes
    up to about `move_seconds` (0: as long as it takes). Nobody waits for a lock for more than a second. A warning says
    what was left, and why."""
    with engine.begin() as connection:
        missing = missing_partitions(connection, now)
        defaults = default_partitions(connection)
    made, left = 0, dict[str, str]()
    for partition in missing:
        default = defaults.get(partition.table)
        make = partial(_make, engine, partition, default, now, move_seconds)
        reason = _left(engine, partition.table, make)
        made += reason is None
        left |= {partition.name: reason} if reason else {}
    for table, default in defaults.items():
        left |= _take_away(engine, table, default, now, move_seconds)
    if left:
        reasons = "; ".join(sorted(set(left.values())))
        log.warning("partitions could not be made: %s. They are tried again: %s", reasons, ", ".join(left))
    return PartitionRound(made, len(left))


def _make(engine: Engine, partition: Partition, default: str | None, now: datetime, seconds: float) -> None:
    if default is not None:
        move_partition(engine, partition, default, now, seconds)
        return
    with engine.begin() as connection:
        create_partition(connection, partition)


def _take_away(engine: Engine, table: str, default: str, now: datetime, seconds: float) -> dict[str, str]:
    """Moves the rows of a default partition, and detaches it. Returns what was left, and why."""
    until = monotonic() + (seconds or float("inf"))
    while monotonic() < until and (partition := over_partition(engine, table, default, now)) is not None:
        reason = _left(engine, table, partial(move_partition, engine, partition, default, now, seconds))
        if reason is not None:
            return {partition.name: reason}
        log.warning("the rows of %s that belong there were moved to %s", default, partition.name)
    reason = _left(engine, table, partial(_detach, engine, table, default))
    return {default: reason} if reason is not None else {}


def _detach(engine: Engine, table: str, default: str) -> str | None:
    return None if detach_default(engine, table, default) else _HOLDS_ROWS.format(table)


def _left(engine: Engine, table: str, action: Callable[[], str | None]) -> str | None:
    """Does it. Returns why it was left, if it was. Raises what only a defect or an outage raises."""
    try:
        return action()
    except IntegrityError:
        return _HOLDS_ROWS.format(table)
    except DBAPIError as error:
        match error.orig:
            case LockNotAvailable() | DeadlockDetected():
                return _who_uses(engine, table)
            case QueryCanceled():
                return f"the default partition of {table} has too many rows: `dispatcher migrate` moves them"
            case InsufficientPrivilege():
                return (
                    f"this user may not change {table}: run the SQL of `dispatcher roles --print`, or let the owner run"
                    " `dispatcher migrate` every month"
                )
        raise


def _who_uses(engine: Engine, table: str) -> str:
    with engine.begin() as connection:
        user = connection.execute(_OLDEST_USER, {"table": f"dispatcher.{table}"}).one_or_none()
    return f"{table} is in use" + (f" by database process {user.pid} ({user.application_name})" if user else "")


_OLDEST_USER = text("""
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'no name') AS application_name
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = to_regclass(:table) AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY a.xact_start LIMIT 1
""")
