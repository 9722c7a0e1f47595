"""Re-encrypts with the newest key what older keys encrypted: in small steps, while everything else runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Engine, func, select, text

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.arrays import arrays
from dispatcher.db.models import Base, Installation
from dispatcher.encryption.vault import EncryptionKeys
from dispatcher.errors import WrongEncryptionKey

BATCH = 100
PASSES = 3


class Place(NamedTuple):
    """Where one secret is stored; `id` is the row's key."""

    table: str
    column: str
    id: UUID


class Rotation:
    """One run over all secrets. Its counts can be read at any time, even after it was stopped.

    Each batch is its own transaction, so a run may end anywhere, and the next one skips what is done. A secret is
    replaced only if it is still the one that was read: a concurrent change stays. So a pass cannot know that nothing is
    left; the next one knows it when it finds nothing to do. No webhook's version changes, because what workers cache
    of a webhook is already decrypted.
    """

    def __init__(self, engine: Engine, keys: EncryptionKeys, *, by: Actor) -> None:
        self._engine, self._keys, self._by = engine, keys, by
        self.re_encrypted = 0
        self.already_new = 0  # as the first pass found them
        self.unreadable: list[Place] = []  # no key decrypts these
        self.left: int | None = None  # what the last pass found under an older key; None: not finished

    @property
    def old_keys_are_needed(self) -> bool:
        """False only if everything is known to be under the newest key."""
        return self.left != 0 or bool(self.unreadable)

    def total(self) -> int:
        """How many secrets there are."""
        with self._engine.connect() as connection:
            return sum(connection.scalars(select(func.count(column))).one() for column in ciphertext_columns())

    def run(self, seen: Callable[[], None]) -> None:
        """Re-encrypts; calls `seen` for each secret that the first pass has processed. Raises DBAPIError if the
        database is unavailable."""
        left = self._pass(seen)
        for _ in range(PASSES - 1):
            if left:
                left = self._pass()
        self.left = left

    def _pass(self, seen: Callable[[], None] | None = None) -> int:
        """How many were under an older key."""
        found = 0
        self.unreadable = []
        for column in ciphertext_columns():
            for batch in _batches(self._engine, column):
                stale, unreadable = self._examine(column, batch)
                self.unreadable += unreadable
                found += len(stale)
                self.re_encrypted += self._replace(column, stale)
                if seen is not None:
                    self.already_new += len(batch) - len(stale) - len(unreadable)
                    for _ in batch:
                        seen()
        return found

    def _examine(
        self, column: Column[Any], batch: Iterable[tuple[UUID, bytes]]
    ) -> tuple[list[tuple[UUID, bytes, bytes]], list[Place]]:
        """What is under an older key, as row key, old and new ciphertext; and what no encryption key decrypts."""
        stale, unreadable = [], []
        for identifier, ciphertext in batch:
            try:
                renewed = self._keys.renewed(ciphertext)
            except WrongEncryptionKey:
                unreadable.append(Place(column.table.name, column.name, identifier))
            else:
                if renewed is not None:
                    stale.append((identifier, ciphertext, renewed))
        return stale, unreadable

    def _replace(self, column: Column[Any], stale: Sequence[tuple[UUID, bytes, bytes]]) -> int:
        """Puts the new ciphertexts where the old ones still are; returns how many. The first replacement also writes
        the audit log entry, so that a run that is killed has one, too."""
        if not stale:
            return 0
        names = {"table": f"dispatcher.{column.table.name}", "key": _key(column).name, "column": column.name}
        parameters = arrays(dict(zip(("id", "old", "new"), zip(*stale, strict=True), strict=True)))
        with self._engine.begin() as connection:
            replaced = connection.execute(text(_REPLACE.format(**names)), parameters).rowcount
            if replaced and not self.re_encrypted:
                installation = connection.scalars(select(Installation.id)).one()
                audit.write(connection, self._by, Action.SECRETS_ROTATED, installation, account=None, detail={})
        return replaced


def ciphertext_columns() -> list[Column[Any]]:
    """Every column that holds what the vault has written."""
    return [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.info.get("ciphertext", False)
    ]


def _key(column: Column[Any]) -> Column[Any]:
    (key,) = column.table.primary_key.columns
    return key


def _batches(engine: Engine, column: Column[Any]) -> Iterator[Sequence[tuple[UUID, bytes]]]:
    """Key and ciphertext of all rows that have one, in order of the key; nothing is locked."""
    key = _key(column)
    query = select(key, column).where(column.is_not(None)).order_by(key).limit(BATCH)
    after = query
    while True:
        with engine.begin() as connection:
            batch = [(identifier, bytes(ciphertext)) for identifier, ciphertext in connection.execute(after)]
        if batch:
            yield batch
        if len(batch) < BATCH:
            return
        after = query.where(key > batch[-1][0])


# Rows are locked in one order, as everywhere that several webhooks are locked: otherwise two could deadlock.
_REPLACE = """
WITH renewed AS (
  SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:old AS bytea[]), CAST(:new AS bytea[])) AS r(id, old, new)),
locked AS MATERIALIZED (
  SELECT t.{key} AS id FROM {table} t JOIN renewed r ON r.id = t.{key} ORDER BY t.{key} FOR NO KEY UPDATE OF t)
UPDATE {table} t SET {column} = r.new
FROM renewed r JOIN locked USING (id) WHERE t.{key} = r.id AND t.{column} = r.old
"""
