"""Weekly partitions of the big tables: ranges of UUIDv7 ids, made weeks ahead."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from dispatcher.ids import first_id_at

PARTITIONED = ("events", "requests", "attempts")
WEEKS_AHEAD = 8
_WEEK = timedelta(weeks=1)


def partitions_around(now: datetime, *, weeks_ahead: int = WEEKS_AHEAD) -> Iterator[tuple[str, str]]:
    """(suffix, bounds) of the partition of `now` and of each week ahead; a suffix is the week's Monday."""
    monday = (now.astimezone(UTC) - timedelta(days=now.astimezone(UTC).weekday())).date()
    start = datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
    for week in range(weeks_ahead + 1):
        first = start + week * _WEEK
        bounds = f"FROM ('{first_id_at(first)}') TO ('{first_id_at(first + _WEEK)}')"
        yield f"{first:%Y%m%d}", bounds


def create_partitions(connection: Connection, now: datetime) -> list[str]:
    """Creates what is missing and returns the new partitions' names. Each table has a default partition beside them,
    so that a clock far off loses nothing."""
    created = []
    for table in PARTITIONED:
        existing = set(
            connection.scalars(
                text(
                    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                    " WHERE i.inhparent = to_regclass(:parent)"
                ),
                {"parent": f"dispatcher.{table}"},
            )
        )
        default = f"{table}_default"
        if default not in existing:
            connection.execute(text(f"CREATE TABLE dispatcher.{default} PARTITION OF dispatcher.{table} DEFAULT"))
            created.append(default)
        for suffix, bounds in partitions_around(now):
            name = f"{table}_{suffix}"
            if name not in existing:
                connection.execute(
                    text(f"CREATE TABLE dispatcher.{name} PARTITION OF dispatcher.{table} FOR VALUES {bounds}")
                )
                created.append(name)
    return created
