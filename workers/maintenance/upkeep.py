"""Upkeep, every minute: ends deliveries that cannot be attempted any more, makes partitions, deletes expired keys, and
fills in what older versions leave out."""

from time import monotonic

from sqlalchemy import Engine, text

from dispatcher.db.partitions import create_partitions
from dispatcher.encryption.vault import Vault
from dispatcher.producer import Clock
from dispatcher.states import Reason, State
from workers.maintenance.older_versions import fill_deliveries, fill_webhooks
from workers.notices.send import close_abandoned

PIECE = 1_000
FILL_SECONDS = 5  # what older versions left is no hurry: the next round goes on

# Reads only webhooks that cannot be claimed from, found by skipping along the index of ready deliveries.
_END_UNCLAIMABLE = text(f"""
WITH RECURSIVE scan(webhook_id) AS (
  (SELECT webhook_id FROM dispatcher.deliveries WHERE state = '{State.READY}' ORDER BY webhook_id LIMIT 1)
  UNION ALL
  SELECT x.webhook_id FROM scan h, LATERAL (
    SELECT d.webhook_id FROM dispatcher.deliveries d
    WHERE d.state = '{State.READY}' AND d.webhook_id > h.webhook_id ORDER BY d.webhook_id LIMIT 1) x),
ended AS (
  SELECT d.id, CASE WHEN w.deleted_at IS NOT NULL THEN '{Reason.WEBHOOK_DELETED}'
                    WHEN e.expires_at <= now() THEN '{Reason.EXPIRED}'
                    WHEN w.enabled THEN '{Reason.EXHAUSTED}' ELSE '{Reason.WEBHOOK_DISABLED}' END AS reason
  FROM scan h
  JOIN dispatcher.webhooks w ON w.id = h.webhook_id
  JOIN dispatcher.accounts a ON a.id = w.account_id
  LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
  JOIN dispatcher.deliveries d ON d.webhook_id = h.webhook_id AND d.state = '{State.READY}'
       AND (w.deleted_at IS NOT NULL OR d.give_up_at <= now())
  JOIN dispatcher.events e ON e.id = d.event_id
  WHERE w.deleted_at IS NOT NULL OR (a.suspended_at IS NULL AND (NOT w.enabled OR g.opened_at IS NOT NULL))
  LIMIT 1000 FOR UPDATE OF d SKIP LOCKED)
UPDATE dispatcher.deliveries d SET state = '{State.DISCARDED}', reason = ended.reason, finished_at = now()
FROM ended WHERE d.id = ended.id
""")  # noqa: S608 - composed of constants

_CLOSE_ALL_CIRCUITS = text("DELETE FROM dispatcher.circuit_breakers")

_FORGET_KEYS = text("""
DELETE FROM dispatcher.idempotency_keys WHERE (account_id, key) IN (
  SELECT account_id, key FROM dispatcher.idempotency_keys WHERE expires_at <= now()
  ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
""")


def upkeep(engine: Engine, vault: Vault, clock: Clock, *, circuit_breakers: bool) -> dict[str, int]:
    """Runs once, in small transactions. Returns counts of what it did; `partitions_left` wait for the next run.
    `circuit_breakers`: whether this installation has any."""
    done = {"ended": 0, "keys_forgotten": 0}
    if not circuit_breakers:  # switched off: circuits that were open before must not end deliveries
        with engine.begin() as connection:
            connection.execute(_CLOSE_ALL_CIRCUITS)
    for name, statement in (("ended", _END_UNCLAIMABLE), ("keys_forgotten", _FORGET_KEYS)):
        while True:
            with engine.begin() as connection:
                count = connection.execute(statement).rowcount
            done[name] += count
            if count < PIECE:
                break
    with engine.begin() as connection:
        done["notices_abandoned"] = close_abandoned(connection)
    partitions = create_partitions(engine, clock())
    until = monotonic() + FILL_SECONDS
    done["webhooks_filled"] = fill_webhooks(engine, vault, until)
    done["deliveries_filled"] = fill_deliveries(engine, until)
    return done | {"partitions": partitions.made, "partitions_left": partitions.left}
