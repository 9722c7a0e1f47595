"""Binds secrets to their rows that older versions wrote unbound, in small steps, once no older version can come back.

Then marks the end, and from there on an unbound secret is refused: it could have been copied from another row.
"""

from collections.abc import Iterable
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Column, Engine, text

from dispatcher.db.binding import BINDING, BINDS_FROM, Binding, Progress, has_settled, is_due, planned
from dispatcher.db.heartbeat import LIVES
from dispatcher.encryption.stored import DIGEST_KEY, Renewed, batches, ciphertext_columns, is_unbound, place_of, replace
from dispatcher.encryption.vault import Vault
from dispatcher.errors import Unreadable, WrongEncryptionKey

log = structlog.get_logger("dispatcher.upkeep")

_PROGRESS = text(f"""
SELECT {BINDING} AS binding, secrets_bound_from, now() AS now, EXISTS (
  SELECT 1 FROM dispatcher.processes
  WHERE schema_to < '{BINDS_FROM}' AND seen_at BETWEEN now() - :lives AND now() + :lives) AS is_older_alive
FROM dispatcher.installation
""")  # noqa: S608 - composed of constants
_PLAN = text("UPDATE dispatcher.installation SET secrets_bound_from = :at")
# Older versions are excluded in the moment in which the first bound secret may be written.
_BEGIN = text("SELECT dispatcher.begin_binding_v1()")


def bind_secrets(engine: Engine, vault: Vault, until: float) -> dict[str, int]:
    """Goes one step further. Returns how many secrets it bound, and how many it left, because no key opens them or
    somebody has locked their rows; after `until` (monotonic) the rest is left to the next round."""
    progress, now = _progress(engine)
    vault.learn(progress.binding)
    if progress.binding is Binding.NOT_YET:
        _prepare(engine, vault, progress, now)
    if progress.binding is not Binding.BEGUN:
        return {"secrets_bound": 0, "secrets_unbound": 0}
    bound, left, is_all = _bind_all(engine, vault, until)
    if is_all and not bound and not left and has_settled(progress, now):
        _bind(engine, vault, DIGEST_KEY)
        vault.learn(_progress(engine)[0].binding)
        log.info("every secret is bound to its row: from now on others are refused")
    return {"secrets_bound": bound, "secrets_unbound": left}


def _progress(engine: Engine) -> tuple[Progress, datetime]:
    with engine.connect() as connection:
        row = connection.execute(_PROGRESS, {"lives": LIVES}).one()
    return Progress(Binding(row.binding), row.secrets_bound_from, row.is_older_alive), row.now


def _prepare(engine: Engine, vault: Vault, progress: Progress, now: datetime) -> None:
    if is_due(progress, now):
        with engine.begin() as connection:
            connection.execute(_BEGIN)
        vault.learn(Binding.BEGUN)
        log.info("secrets are bound to their rows from now on: older versions cannot be started any more")
    elif (at := planned(progress, now)) != progress.bound_from:
        with engine.begin() as connection:
            connection.execute(_PLAN, {"at": at})


def _bind_all(engine: Engine, vault: Vault, until: float) -> tuple[int, int, bool]:
    """How many were bound, how many were not, and whether all were looked at."""
    bound = left = 0
    for column in ciphertext_columns():
        if column is DIGEST_KEY:
            continue
        for batch in batches(engine, column, is_unbound(column)):
            if monotonic() >= until:
                return bound, left, False
            done = _replace(engine, vault, column, batch)
            bound, left = bound + done, left + len(batch) - done
    if left:
        log.warning("secrets are not bound to their rows yet: a key is missing, or their rows are locked", secrets=left)
    return bound, left, True


def _bind(engine: Engine, vault: Vault, column: Column[Any]) -> None:
    for batch in batches(engine, column):
        _replace(engine, vault, column, batch)


def _replace(engine: Engine, vault: Vault, column: Column[Any], batch: Iterable[tuple[UUID, bytes]]) -> int:
    renewed = []
    for identifier, ciphertext in batch:
        try:
            new = vault.renewed(ciphertext, place_of(column, identifier), bind=True)
        except (WrongEncryptionKey, Unreadable):
            continue
        if new is not None:
            renewed.append(Renewed(identifier, ciphertext, new))
    if not renewed:
        return 0
    with engine.begin() as connection:
        return replace(connection, column, renewed, wait=False)
