"""Removes what deleted accounts have, in small steps, and the accounts last.

Each step finds in the tables themselves what is left, so a run that dies at any point is continued by the next one.
Events, requests, attempts and the audit log stay: they are partitioned by time, and age out with everybody's. So do
the counts of requests.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Sequence
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from dispatcher.db.arrays import array
from dispatcher.states import State
from dispatcher.webhooks.store import WIPED

log = structlog.get_logger("dispatcher.upkeep")

PIECE = 1_000  # rows that one transaction changes in a table
WEBHOOKS = 100  # that are removed together
# A worker that claimed before a webhook was deleted still records its results, which refer to the webhook.
REST = "10 minutes"

_DELETED = text("SELECT id, name FROM dispatcher.accounts WHERE deleted_at IS NOT NULL ORDER BY deleted_at, id")

_WIPE = text(f"""
UPDATE dispatcher.webhooks
SET deleted_at = now(), version = version + 1, {", ".join(f"{column} = NULL" for column in WIPED)}
WHERE id = ANY(ARRAY(SELECT id FROM dispatcher.webhooks WHERE account_id = :account AND deleted_at IS NULL
                     ORDER BY id LIMIT {PIECE} FOR UPDATE SKIP LOCKED))
""")


def _of_account(table: str, key: str) -> str:
    # An array is made once. A plan may ask `IN (SELECT ... LIMIT)` again for each row, and so remove any number.
    # The rows are locked, so they stay at their places.
    return f"""
DELETE FROM dispatcher.{table} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatcher.{table} WHERE account_id = :account ORDER BY {key} LIMIT {PIECE} FOR UPDATE SKIP LOCKED))
"""


# First what makes new deliveries, or reopens old ones.
OF_ACCOUNT = [
    text(_of_account(table, key))
    for table, key in (
        ("subscriptions", "webhook_id, event_type"),
        ("recipients", "account_id, id"),
        ("redeliveries", "id"),
        ("idempotency_keys", "account_id, key"),
        ("portal_links", "id"),
        ("sessions", "id"),
        ("api_keys", "id"),
    )
]

_WEBHOOKS = text(f"""
SELECT id::text FROM dispatcher.webhooks
WHERE account_id = :account AND id > CAST(:after AS uuid) AND deleted_at < now() - interval '{REST}'
ORDER BY id LIMIT {WEBHOOKS}
""")
# What is claimed is being attempted, or its claim will expire: the next run takes it. Ordered in pairs, for which there
# is an index: by id alone the planner might walk through the deliveries of all webhooks.
_DELIVERIES = text(f"""
DELETE FROM dispatcher.deliveries WHERE id = ANY(ARRAY(
  SELECT d.id FROM unnest(CAST(:webhooks AS uuid[])) AS w(id) CROSS JOIN LATERAL (
    SELECT id FROM dispatcher.deliveries
    WHERE webhook_id = w.id AND state <> '{State.CLAIMED}' ORDER BY webhook_id, id LIMIT {PIECE}
    FOR UPDATE SKIP LOCKED) d
  LIMIT {PIECE}))
""")
_EMPTY = text("""
SELECT w.id::text FROM dispatcher.webhooks w
WHERE w.id = ANY(CAST(:webhooks AS uuid[]))
  AND NOT EXISTS (SELECT 1 FROM dispatcher.deliveries d WHERE d.webhook_id = w.id)
FOR UPDATE OF w SKIP LOCKED
""")
_OF_WEBHOOKS = [
    text(f"DELETE FROM dispatcher.{table} WHERE {column} = ANY(CAST(:webhooks AS uuid[]))")
    for table, column in (
        ("subscriptions", "webhook_id"),
        ("circuit_breakers", "webhook_id"),
        ("rates", "webhook_id"),
        ("tokens", "webhook_id"),
        ("notices", "webhook_id"),
        ("webhooks", "id"),
    )
]

# Locked first, so that nothing new can refer to it.
_LAST = text("""
SELECT 1 FROM dispatcher.accounts WHERE id = :account
  AND NOT EXISTS (SELECT 1 FROM dispatcher.webhooks WHERE account_id = :account) FOR UPDATE
""")
_REMOVE = [
    text("DELETE FROM dispatcher.mail_budgets WHERE owner = :account"),
    text("DELETE FROM dispatcher.accounts WHERE id = :account"),
]


def remove_accounts(engine: Engine, until: float) -> dict[str, int]:
    """Removes what deleted accounts have; after `until` (monotonic) the rest is left to the next run. Returns how many
    accounts are gone, and how many are still being deleted."""
    with engine.connect() as connection:
        deleted = connection.execute(_DELETED).all()
    gone = 0
    for row in deleted:
        if _remove(engine, row.id, until):
            log.info("account removed", account=row.name)
            gone += 1
    return {"accounts_removed": gone, "accounts_left": len(deleted) - gone}


def _remove(engine: Engine, account: UUID, until: float) -> bool:
    """Returns whether the account is gone."""
    for statement in (_WIPE, *OF_ACCOUNT):
        count = PIECE
        while count == PIECE:
            if monotonic() >= until:
                return False
            with engine.begin() as connection:
                count = connection.execute(statement, {"account": account}).rowcount
    after = str(UUID(int=0))
    while monotonic() < until:
        with engine.connect() as connection:
            webhooks = connection.scalars(_WEBHOOKS, {"account": account, "after": after}).all()
        if not webhooks:
            with engine.begin() as connection:
                return _remove_last(connection, account)
        if not _remove_webhooks(engine, webhooks, until):
            return False
        after = webhooks[-1]
    return False


def _remove_webhooks(engine: Engine, webhooks: Sequence[str], until: float) -> bool:
    """Removes deliveries, then those webhooks that have none. Returns False if there was not enough time."""
    count = PIECE
    while count == PIECE:
        if monotonic() >= until:
            return False
        with engine.begin() as connection:
            count = connection.execute(_DELIVERIES, {"webhooks": array(webhooks)}).rowcount
    with engine.begin() as connection:
        empty = connection.scalars(_EMPTY, {"webhooks": array(webhooks)}).all()
        for statement in _OF_WEBHOOKS if empty else ():
            connection.execute(statement, {"webhooks": array(empty)})
    return True


def _remove_last(connection: Connection, account: UUID) -> bool:
    if connection.execute(_LAST, {"account": account}).first() is None:
        return False
    for statement in (*OF_ACCOUNT, *_REMOVE):
        connection.execute(statement, {"account": account})
    return True
