"""Takes away the default partitions that versions before 0.3 made: their rows go to the partitions of their weeks, and
what is empty is detached.

While a table has one, a partition cannot be made beside a reader of it, and none can be detached CONCURRENTLY.
"""
# ruff: noqa: S608 - composed of constants and of the names of our tables

from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, text

from dispatcher.db.partitions import LOCK_TIMEOUT, PARTITIONED, Partition, attach_partition, begin_partition, week_of
from dispatcher.ids import first_id_at

_HOUR = timedelta(hours=1)  # by which clocks of processes of 0.2 may be wrong


def default_partitions(connection: Connection) -> dict[str, str]:
    """By table, those that exist."""
    found = {table: connection.scalar(_DEFAULT, {"parent": f"dispatcher.{table}"}) for table in PARTITIONED}
    return {table: name for table, name in found.items() if name}


def over_partition(engine: Engine, table: str, default: str, now: datetime) -> Partition | None:
    """The partition of a week that has rows in the default partition, and gets no more."""
    elsewhere = " AND ".join(f"NOT {week.condition}" for week in _in_use(table, now))
    with engine.connect() as connection:
        identifier = connection.scalar(text(f"SELECT id FROM dispatcher.{default} WHERE {elsewhere} LIMIT 1"))
    return week_of(table, identifier) if identifier is not None else None


def move_partition(engine: Engine, partition: Partition, default: str, now: datetime, seconds: float) -> None:
    """Makes a partition of a table with a default one, and moves its rows there: they can be read all the time. Raises
    IntegrityError for a week that has rows and may still get some, OperationalError if the tables are in use, or if
    moving takes longer than `seconds` (0: without limit)."""
    if partition in _in_use(partition.table, now):
        _attach_beside(engine, partition)
        return
    check = f"{partition.name}_apart"
    with engine.begin() as connection:
        # So that attaching does not read the default partition, for which it keeps everybody out. Rows of this week are
        # refused until then.
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        if not connection.scalar(_HAS_CHECK, {"table": f"dispatcher.{default}", "check": check}):
            connection.execute(
                text(
                    f"ALTER TABLE dispatcher.{default} ADD CONSTRAINT {check}"
                    f" CHECK (id < '{partition.first}' OR id >= '{partition.end}') NOT VALID"
                )
            )
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL statement_timeout = {seconds * 1000:.0f}"))
        if (name := begin_partition(connection, partition, checked=True)) is None:
            return
        moved = connection.execute(
            text(
                f"WITH moved AS (DELETE FROM dispatcher.{default} WHERE {partition.condition} RETURNING *)"
                f" INSERT INTO dispatcher.{name} SELECT * FROM moved"
            )
        ).rowcount
        connection.execute(text(f"ALTER TABLE dispatcher.{default} VALIDATE CONSTRAINT {check}"))
        if moved:
            # Who is being planned now knows the partitions from before, and would find the rows in none of them.
            connection.execute(text(f"LOCK TABLE ONLY dispatcher.{partition.table} IN ACCESS EXCLUSIVE MODE"))
        attach_partition(connection, partition, name)
        for table in (name, default):
            connection.execute(text(f"ALTER TABLE dispatcher.{table} DROP CONSTRAINT {check}"))


def _attach_beside(engine: Engine, partition: Partition) -> None:
    """Attaches a partition, which reads the default one for rows that belong there: at most for as long as others may
    wait."""
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL statement_timeout = '{LOCK_TIMEOUT}'"))
        if (name := begin_partition(connection, partition)) is not None:
            attach_partition(connection, partition, name)


def detach_default(engine: Engine, table: str, default: str) -> bool:
    """Detaches a default partition, if it is empty; False if it is not. It stays as a table: 0.2 would make another one
    in its place. Raises OperationalError if the table is in use."""
    is_empty = text(f"SELECT NOT EXISTS (SELECT 1 FROM dispatcher.{default})")
    with engine.connect() as connection:
        if not connection.scalar(is_empty):
            return False
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"LOCK TABLE ONLY dispatcher.{table} IN ACCESS EXCLUSIVE MODE"))
        if connection.scalar(is_empty):
            connection.execute(text(f"ALTER TABLE dispatcher.{table} DETACH PARTITION dispatcher.{default}"))
            return True
    return False


def _in_use(table: str, now: datetime) -> set[Partition]:
    """The weeks that may get rows now."""
    return {week_of(table, first_id_at(now + ahead)) for ahead in (-_HOUR, _HOUR)}


_DEFAULT = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = to_regclass(:parent) AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'"
)
_HAS_CHECK = text(
    "SELECT EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :check)"
)
