"""Rows with one odd value each: for each column the extremes of its type, made by copying healthy rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import ARRAY

from dispatcher.db.models import Base
from dispatcher.ids import new_id

# What an odd value looks like, by PostgreSQL's type, as SQL. A new column gets those of its type.
ODD: dict[str, tuple[str, ...]] = {
    "SMALLINT": ("-32768", "-1", "0", "32767"),
    "INTEGER": ("-2147483648", "-1", "0", "2147483647"),
    "BIGINT": ("-9223372036854775808", "-1", "0", "9223372036854775807"),
    "DOUBLE PRECISION": ("0", "-1", "'NaN'", "'Infinity'", "'-Infinity'", "1e300", "1e-300"),
    "TIMESTAMP WITH TIME ZONE": ("'infinity'", "'-infinity'", "'20000-01-01Z'", "'0044-03-15Z BC'"),
    "INTERVAL": ("'170000000 years'", "'-170000000 years'", "'0'"),
    "BYTEA": (r"'\x'", r"'\x00ff0d0a'", "'x'"),
    "TEXT": ("''", "E'\\r\\nX-A: 1'", "E'\\x1b[2J\\u202e'", "repeat('9', 5000)", "'http://['"),
    "VARCHAR": ("''", "E'\\r\\nX-A: 1'", "E'\\x1b[2J\\u202e'", "repeat('9', 5000)", "'http://['"),
    "JSONB": ("'null'", "'[]'", "'\"text\"'", "('{\"a\": 1' || repeat('0', 5000) || '}')::jsonb"),
    "BOOLEAN": ("true", "false"),
    "UUID": ("'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
}


@dataclass(frozen=True, slots=True)
class OddRow:
    """A row with one odd value, and the webhook that is concerned."""

    table: str
    column: str
    value: str
    webhook: UUID


def odd_values(table: Table, leave: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Each column that is not a key or left out, with each odd value of its type."""
    for column in table.columns:
        if column.primary_key or column.name in leave or column.computed is not None or column.identity is not None:
            continue
        kind = str(column.type.compile(postgresql.dialect()))
        values = ("'{}'", "NULL") if isinstance(column.type, ARRAY) else ODD[kind]
        yield from ((column.name, value) for value in (*values, *(("NULL",) if column.nullable else ())))


def copy(connection: Connection, table: str, of: UUID, **changes: Any) -> UUID:
    """A copy of a row with another id and these changes."""
    columns = Base.metadata.tables[f"dispatcher.{table}"].columns
    names = [c.name for c in columns if c.computed is None and c.identity is None]
    values = {"id": new_id(), **changes}
    chosen = ", ".join(f":{name}" if name in values else name for name in names)
    connection.execute(
        text(
            f"INSERT INTO dispatcher.{table} ({', '.join(names)}) SELECT {chosen}"
            f" FROM dispatcher.{table} WHERE id = :of"
        ),
        {**values, "of": of},
    )
    made: UUID = values["id"]
    return made


def refused(connection: Connection, statement: str, **parameters: Any) -> bool:
    """Whether the database itself refuses a change: then no row can hold it."""
    try:
        with connection.begin_nested():
            connection.execute(text(statement), parameters)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", "")[:2] not in {"22", "23"}:
            raise
        return True
    return False
