"""Values as the text of a PostgreSQL array: one literal that the server reads in one go.

psycopg2 would write a list as `ARRAY[...]`, each element a constant that the server parses as SQL: for hundreds of rows
that costs more than the statement itself.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID

Element: TypeAlias = str | int | float | bytes | UUID | datetime | timedelta | None


def array(values: Collection[Element]) -> str:
    """The literal of a one-dimensional array; the statement casts it to its type. A `str` is quoted, so it can be
    any text; `bytes` are for `bytea[]`, a `timedelta` for `interval[]`, an aware `datetime` for `timestamptz[]`, a
    `StrEnum` is its value. Raises ValueError for a text that PostgreSQL cannot store (NUL)."""
    if not values:
        return "{}"
    different = dict.fromkeys(values)  # most columns repeat a few values
    if len(different) == 1:
        (value,) = different
        return "{" + ",".join([_element(value)] * len(values)) + "}"
    try:
        together = "\0".join(values)  # type: ignore[arg-type]  # if all are texts: many are quoted as fast as one
    except TypeError:
        written = {value: _element(value) for value in different}
        return "{" + ",".join([written[value] for value in values]) + "}"
    if together.count("\0") >= len(values):
        raise ValueError("PostgreSQL cannot store a NUL character in a text")
    return '{"' + together.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"}'


def arrays(columns: Mapping[str, Collection[Element]]) -> dict[str, str]:
    """`array` for each of several parameters."""
    return {name: array(values) for name, values in columns.items()}


def _element(value: Element) -> str:  # noqa: PLR0911 - one for each type
    if value is None:
        return "NULL"
    if isinstance(value, str):
        if value.isalnum() and value.isascii() and value.upper() != "NULL":
            return value
        if "\0" in value:
            raise ValueError("PostgreSQL cannot store a NUL character in a text")
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return '"\\\\x' + value.hex() + '"'
    if isinstance(value, datetime):
        return '"' + value.astimezone(UTC).isoformat() + '"'  # PostgreSQL allows smaller UTC offsets than Python
    if isinstance(value, timedelta):
        return f'"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"'
    return str(value)
