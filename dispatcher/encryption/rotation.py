"""Re-encrypts with the newest key what older keys encrypted, and what is to be bound to its row: in small steps, while
everything else runs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Engine, func, select

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.binding import Binding
from dispatcher.db.models import Installation
from dispatcher.encryption.stored import DIGEST_KEY, Renewed, batches, ciphertext_columns, place_of, replace
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.errors import Unreadable, WrongEncryptionKey

PASSES = 3


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
        self.misplaced: list[Place] = []  # these were made for other rows, or changed
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
        self.unreadable, self.misplaced = [], []
        for column in ciphertext_columns():
            for batch in batches(self._engine, column):
                stale, unreadable, misplaced = self._examine(column, batch)
                self.unreadable += unreadable
                self.misplaced += misplaced
                found += len(stale)
                self.re_encrypted += self._replace(column, stale)
                if seen is not None:
                    self.already_new += len(batch) - len(stale) - len(unreadable) - len(misplaced)
                    for _ in batch:
                        seen()
        return found

    def _examine(
        self, column: Column[Any], batch: Iterable[tuple[UUID, bytes]]
    ) -> tuple[list[Renewed], list[Place], list[Place]]:
        """What is under an older key, or is to be bound; what no key decrypts; and what is not this place's."""
        stale, unreadable, misplaced = [], [], []
        bind = column is not DIGEST_KEY and self._keys.binding is not Binding.NOT_YET
        for identifier, ciphertext in batch:
            place = place_of(column, identifier)
            try:
                renewed = self._keys.renewed(ciphertext, place, bind=bind)
            except WrongEncryptionKey:
                unreadable.append(place)
            except Unreadable:
                misplaced.append(place)
            else:
                if renewed is not None:
                    stale.append(Renewed(identifier, ciphertext, renewed))
        return stale, unreadable, misplaced

    def _replace(self, column: Column[Any], stale: Sequence[Renewed]) -> int:
        """Returns how many. The first replacement also writes the audit log entry, so that a run that is killed has
        one, too."""
        if not stale:
            return 0
        with self._engine.begin() as connection:
            replaced = replace(connection, column, stale)
            if replaced and not self.re_encrypted:
                installation = connection.scalars(select(Installation.id)).one()
                audit.write(connection, self._by, Action.SECRETS_ROTATED, installation, account=None, detail={})
        return replaced
