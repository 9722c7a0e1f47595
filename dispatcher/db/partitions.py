"""Weekly partitions of the big tables: ranges of UUIDv7 ids, made weeks ahead."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg2.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from dispatcher.ids import first_id_at

log = logging.getLogger("dispatcher.db.partitions")

PARTITIONED = ("events", "requests", "attempts", "audit")
WEEKS_AHEAD = 8
LOCK_SECONDS = 1
_WEEK = timedelta(weeks=1)


def partitions_around(now: datetime) -> Iterator[tuple[str, str]]:
    """(suffix, bounds) of the partition of `now` and of each week ahead; a suffix is the week's Monday."""
    monday = (now.astimezone(UTC) - timedelta(days=now.astimezone(UTC).weekday())).date()
    start = datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
    for week in range(WEEKS_AHEAD + 1):
        first = start + week * _WEEK
        bounds = f"FROM ('{first_id_at(first)}') TO ('{first_id_at(first + _WEEK)}')"
        yield f"{first:%Y%m%d}", bounds


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that should exist: its table, its name, and the clause that says which ids it takes."""

    table: str
    name: str
    bounds: str


@dataclass(frozen=True, slots=True)
class PartitionRound:
    """The result of one round, as counts. The next round tries again what was left."""

    made: int
    left: int


def missing_partitions(connection: Connection, now: datetime) -> list[Partition]:
    """The partitions that `create_partition` should make. Each table also has a default partition, so that a wrong
    clock loses nothing."""
    missing = []
    for table in PARTITIONED:
        existing = set(connection.scalars(_EXISTING, {"parent": f"dispatcher.{table}"}))
        wanted = [Partition(table, f"{table}_default", "DEFAULT")]
        wanted += [
            Partition(table, f"{table}_{suffix}", f"FOR VALUES {bounds}") for suffix, bounds in partitions_around(now)
        ]
        missing += [partition for partition in wanted if partition.name not in existing]
    return missing


def create_partition(connection: Connection, partition: Partition) -> None:
    """Makes a partition. Call it in a transaction of its own: the table is locked for everyone else until that ends."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    # The lock comes first: of two at once, the second then sees what the first has made.
    connection.execute(text(f"LOCK TABLE ONLY dispatcher.{partition.table} IN ACCESS EXCLUSIVE MODE"))
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS dispatcher.{partition.name}"
            f" PARTITION OF dispatcher.{partition.table} {partition.bounds}"
        )
    )


def create_partitions(engine: Engine, now: datetime) -> PartitionRound:
    """Makes the missing partitions, each in its own transaction that waits at most a second for its lock.

    A reader, such as a backup, holds a lock on the table; while this waits for it, all writers queue up behind. So a
    table that was in use is left out for the rest of the round. A warning says what was left, and why.
    """
    with engine.begin() as connection:
        missing = missing_partitions(connection, now)
    made = 0
    left: dict[str, str] = {}
    in_use: dict[str, str] = {}
    for partition in missing:
        if partition.table in in_use:
            left[partition.name] = in_use[partition.table]
            continue
        try:
            with engine.begin() as connection:
                create_partition(connection, partition)
            made += 1
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            left[partition.name] = in_use[partition.table] = _who_uses(engine, partition.table)
        except IntegrityError:
            left[partition.name] = f"{partition.table}_default holds rows of that time"
    if left:
        reasons = "; ".join(sorted(set(left.values())))
        log.warning("partitions could not be made: %s. They are tried again: %s", reasons, ", ".join(left))
    return PartitionRound(made, len(left))


def _who_uses(engine: Engine, table: str) -> str:
    with engine.begin() as connection:
        user = connection.execute(_OLDEST_USER, {"table": f"dispatcher.{table}"}).one_or_none()
    return f"{table} is in use" + (f" by database process {user.pid} ({user.application_name})" if user else "")


_EXISTING = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:parent)"
)

_OLDEST_USER = text("""
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'no name') AS application_name
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = to_regclass(:table) AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY a.xact_start LIMIT 1
""")
