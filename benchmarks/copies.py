"""Copies of a registered webhook: there may be too many to register."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import text

from dispatcher.db.models import Webhook
from dispatcher.encryption.stored import ciphertext_columns, place_of
from dispatcher.installation import Installation

_SECRET = [column for column in ciphertext_columns() if column.table.name == Webhook.__tablename__]
_OWN = {"id", "number", "event_types", *(column.name for column in _SECRET)}
_COPIED = ", ".join(column.name for column in Webhook.__table__.columns if column.name not in _OWN)
_ENCRYPTED = ", ".join(column.name for column in _SECRET)
_GIVEN = ", ".join(f"CAST(:{column.name} AS bytea[])" for column in _SECRET)
_COPY = text(f"""
WITH copied AS (
  INSERT INTO dispatcher.webhooks (id, event_types, {_ENCRYPTED}, {_COPIED})
  SELECT copy_id, string_to_array(copy_types, ' '), {_ENCRYPTED}, {_COPIED}
  FROM unnest(CAST(:ids AS uuid[]), CAST(:types AS text[]), {_GIVEN}) c(copy_id, copy_types, {_ENCRYPTED}),
       (SELECT {_COPIED} FROM dispatcher.webhooks WHERE id = :registered) w
  RETURNING id, account_id, app, event_types)
INSERT INTO dispatcher.subscriptions (webhook_id, event_type, account_id, app)
SELECT id, event_type, account_id, app FROM copied, unnest(event_types) event_type
""")


def copy_webhook(installation: Installation, registered: UUID, copies: Mapping[UUID, Sequence[str]]) -> None:
    """Makes a copy with each of these ids and event types. Each has the secrets encrypted for itself: those of another
    row open nothing."""
    ids, vault = list(copies), installation.vault
    with installation.transaction() as session:
        webhook = session.get_one(Webhook, registered)
        encrypted = {}
        for column in _SECRET:
            stored = getattr(webhook, column.name)
            clear = vault.decrypt(stored, place_of(column, registered)) if stored is not None else None
            encrypted[column.name] = [
                vault.encrypt(clear, place_of(column, one)) if clear is not None else None for one in ids
            ]
        types = [" ".join(event_types) for event_types in copies.values()]
        session.execute(_COPY, {"ids": ids, "types": types, "registered": registered, **encrypted})
