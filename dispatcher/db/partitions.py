"""Weekly partitions of the big tables: ranges of UUIDv7 ids. Making one keeps nobody waiting, and waits for no
reader."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from dispatcher.ids import first_id_at

PARTITIONED = ("events", "requests", "attempts", "audit")
WEEKS_AHEAD = 8
LOCK_TIMEOUT = "900ms"  # nobody may queue up behind a lock for more than a second
_WEEK = timedelta(weeks=1)
_WEEK_MS = 7 * 24 * 60 * 60 * 1000
_MONDAY_MS = 4 * 24 * 60 * 60 * 1000  # 1970-01-05


class Partition(NamedTuple):
    """A partition of a table: for the ids from the first one up to the end, which is not included."""

    table: str
    name: str
    first: UUID
    end: UUID

    @property
    def condition(self) -> str:
        return f"(id >= '{self.first}' AND id < '{self.end}')"


def week_of(table: str, identifier: UUID) -> Partition:
    """The partition for the week, from Monday on in UTC, in which an id was made. Its name has that Monday."""
    week = ((identifier.int >> 80) - _MONDAY_MS) // _WEEK_MS
    start = _MONDAY_MS + week * _WEEK_MS
    try:
        name = f"{datetime.fromtimestamp(start / 1000, UTC):%Y%m%d}"
    except (OverflowError, ValueError):  # a time that Python does not have
        name = f"week_{week}"
    first, end = (UUID(int=min(max(0, moment) << 80, (1 << 128) - 1)) for moment in (start, start + _WEEK_MS))
    return Partition(table, f"{table}_{name}", first, end)


def missing_partitions(connection: Connection, now: datetime) -> list[Partition]:
    """The partitions of this week and of those ahead that `create_partition` should make."""
    missing = []
    for table in PARTITIONED:
        existing = partitions_of(connection, table)
        wanted = [week_of(table, first_id_at(now + week * _WEEK)) for week in range(WEEKS_AHEAD + 1)]
        missing += [partition for partition in wanted if not _is_covered(partition, existing)]
    return missing


def create_partition(connection: Connection, partition: Partition) -> None:
    """Makes a partition in the caller's transaction, unless somebody just did. It is made apart and then attached: so
    readers and writers of the table go on. The table has no default partition."""
    if (name := begin_partition(connection, partition)) is not None:
        attach_partition(connection, partition, name)


def begin_partition(connection: Connection, partition: Partition, *, checked: bool = False) -> str | None:
    """Makes the table that is to be the partition; `checked`: with the check `NAME_apart`, which spares attaching it
    from reading its rows. Returns its name; None if somebody has just made the partition."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    name: str | None = connection.scalar(_BEGIN, {**partition._asdict(), "checked": checked})
    return name


def attach_partition(connection: Connection, partition: Partition, name: str) -> None:
    connection.execute(_ATTACH, {**partition._asdict(), "name": name})


def partitions_of(connection: Connection, table: str) -> list[Partition]:
    """The partitions that a table has, the oldest first. A default one is left out."""
    found = []
    for name, bounds in connection.execute(_BOUNDS, {"parent": f"dispatcher.{table}"}):
        if match := re.fullmatch(r"FOR VALUES FROM \((.+)\) TO \((.+)\)", bounds):
            first, end = (word.strip("'") for word in match.groups())
            found.append(
                Partition(
                    table,
                    name,
                    UUID(int=0) if first == "MINVALUE" else UUID(first),
                    UUID(int=(1 << 128) - 1) if end == "MAXVALUE" else UUID(end),
                )
            )
    return sorted(found, key=lambda partition: partition.first)


def _is_covered(partition: Partition, existing: list[Partition]) -> bool:
    """Whether there is a partition already for ids of its range, whatever its name."""
    return any(other.first < partition.end and partition.first < other.end for other in existing)


# One that is being detached CONCURRENTLY takes no rows any more, but its range is not free yet.
_BOUNDS = text(
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = to_regclass(:parent)"
)
# Functions, because who makes partitions need not own the tables.
_BEGIN = text("SELECT dispatcher.begin_partition_v1(:table, :name, :first, :end, :checked)")
_ATTACH = text("SELECT dispatcher.attach_partition_v1(:table, :name, :first, :end)")
