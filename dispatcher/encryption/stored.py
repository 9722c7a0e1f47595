"""Where secrets are stored, and their replacement in small steps, while everything else runs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Engine, func, select, text, true

from dispatcher.db.arrays import arrays
from dispatcher.db.models import Base, Installation
from dispatcher.encryption.bound import VERSION
from dispatcher.encryption.vault import Place

BATCH = 100
DIGEST_KEY = cast("Column[Any]", Installation.__table__.c.digest_key)


class Renewed(NamedTuple):
    """A new ciphertext for the row with this key, if the old one is still there."""

    id: UUID
    old: bytes
    new: bytes


def ciphertext_columns() -> list[Column[Any]]:
    """Every column that holds what the vault has written."""
    return [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.info.get("ciphertext", False)
    ]


def is_unbound(column: Column[Any]) -> ColumnElement[bool]:
    return func.substring(column, 1, 1) != VERSION


def place_of(column: Column[Any], identifier: UUID) -> Place:
    return Place(column.table.name, column.name, identifier)


def batches(
    engine: Engine, column: Column[Any], wanted: ColumnElement[bool] | None = None
) -> Iterator[Sequence[tuple[UUID, bytes]]]:
    """Key and ciphertext of all rows that have one, in order of the key; nothing is locked."""
    key = _key(column)
    wanted = true() if wanted is None else wanted
    query = select(key, column).where(column.is_not(None), wanted).order_by(key).limit(BATCH)
    after = query
    while True:
        with engine.begin() as connection:
            batch = [(identifier, bytes(ciphertext)) for identifier, ciphertext in connection.execute(after)]
        if batch:
            yield batch
        if len(batch) < BATCH:
            return
        after = query.where(key > batch[-1][0])


def replace(connection: Connection, column: Column[Any], renewed: Sequence[Renewed], *, wait: bool = True) -> int:
    """Puts the new ciphertexts where the old ones still are; returns how many. Without `wait` rows that somebody has
    locked stay as they are."""
    names = {"table": f"dispatcher.{column.table.name}", "key": _key(column).name, "column": column.name}
    statement = _REPLACE.format(**names, locked="" if wait else "SKIP LOCKED")
    parameters = arrays(dict(zip(Renewed._fields, zip(*renewed, strict=True), strict=True)))
    return connection.execute(text(statement), parameters).rowcount


def _key(column: Column[Any]) -> Column[Any]:
    (key,) = column.table.primary_key.columns
    return key


# Rows are locked in one order, as everywhere that several webhooks are locked: otherwise two could deadlock.
_REPLACE = """
WITH renewed AS (
  SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:old AS bytea[]), CAST(:new AS bytea[])) AS r(id, old, new)),
locked AS MATERIALIZED (
  SELECT t.{key} AS id FROM {table} t JOIN renewed r ON r.id = t.{key} ORDER BY t.{key} FOR NO KEY UPDATE OF t {locked})
UPDATE {table} t SET {column} = r.new
FROM renewed r JOIN locked USING (id) WHERE t.{key} = r.id AND t.{column} = r.old
"""
