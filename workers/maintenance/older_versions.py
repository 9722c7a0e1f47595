"""Fills in what older versions leave out, in small steps: they know nothing of these columns, and may still run."""

from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, Row, text

from dispatcher.db.arrays import arrays
from dispatcher.encryption.vault import Place, Vault, destination
from dispatcher.errors import Unreadable, WrongEncryptionKey
from dispatcher.states import State

log = structlog.get_logger("dispatcher.upkeep")

PIECE = 1_000
_FILLED = ("id", "account_no", "url_digest", "destination")

# A deleted webhook has no URL, so neither digest. An older version that changes a URL leaves the destination of the one
# before beside its digest.
_UNFILLED_WEBHOOKS = text(f"""
SELECT w.id::text AS id, a.number AS account_no, w.url_ciphertext, w.url_digest
FROM dispatcher.webhooks w JOIN dispatcher.accounts a ON a.id = w.account_id
WHERE w.id > CAST(:after AS uuid) AND (w.account_no = 0 OR w.destination_of IS DISTINCT FROM w.url_digest)
ORDER BY w.id LIMIT {PIECE}
""")  # noqa: S608 - a constant
# Nothing is locked while URLs are decrypted; one that was changed meanwhile is left to the next round.
_FILL_WEBHOOKS = text("""
WITH filled AS (
  SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:account_no AS integer[]), CAST(:url_digest AS bytea[]),
                       CAST(:destination AS bigint[])) AS f(id, account_no, url_digest, destination)),
locked AS MATERIALIZED (
  SELECT w.id FROM dispatcher.webhooks w JOIN filled f USING (id) WHERE w.url_digest IS NOT DISTINCT FROM f.url_digest
  ORDER BY w.id FOR NO KEY UPDATE OF w SKIP LOCKED)
UPDATE dispatcher.webhooks w
SET account_no = f.account_no, destination = f.destination, destination_of = f.url_digest
FROM filled f JOIN locked USING (id) WHERE w.id = f.id
""")

# In the order of the index of fair claims, in which they are the first. Those that wait for a retry are filled when
# they are promoted.
_FILL_DELIVERIES = text(f"""
WITH unfilled AS (
  SELECT d.id, a.number FROM dispatcher.deliveries d
  JOIN dispatcher.webhooks w ON w.id = d.webhook_id JOIN dispatcher.accounts a ON a.id = w.account_id
  WHERE d.state = '{State.READY}' AND d.account_no = 0
  ORDER BY d.webhook_id, d.is_retry, d.due_at LIMIT {PIECE} FOR UPDATE OF d SKIP LOCKED)
UPDATE dispatcher.deliveries d SET account_no = unfilled.number FROM unfilled
-- The first condition shows a planner with old statistics how few these are.
WHERE d.id = ANY(ARRAY(SELECT id FROM unfilled)) AND d.id = unfilled.id
""")  # noqa: S608 - composed of constants


def fill_webhooks(engine: Engine, vault: Vault, until: float) -> int:
    """Gives webhooks the number of their account and the destination of their URL. Returns how many; after `until`
    (monotonic) the rest is left to the next round. One whose URL no key decrypts is left as it is."""
    filled, unreadable, after = 0, 0, str(UUID(int=0))
    while monotonic() < until:
        with engine.connect() as connection:
            found = connection.execute(_UNFILLED_WEBHOOKS, {"after": after}).all()
        known = []
        for row in found:
            try:
                known.append((row.id, row.account_no, *_digests(vault, row)))
            except (WrongEncryptionKey, Unreadable):
                unreadable += 1
        if known:
            columns = dict(zip(_FILLED, zip(*known, strict=True), strict=True))
            with engine.begin() as connection:
                filled += connection.execute(_FILL_WEBHOOKS, arrays(columns)).rowcount
        if len(found) < PIECE:
            break
        after = found[-1].id
    if unreadable:
        log.warning("the URLs of webhooks cannot be opened", webhooks=unreadable)
    return filled


def fill_deliveries(engine: Engine, until: float) -> int:
    """Gives ready deliveries the number of their account. Returns how many; after `until` (monotonic) the rest is left
    to the next round."""
    filled = 0
    while monotonic() < until:
        with engine.begin() as connection:
            count = connection.execute(_FILL_DELIVERIES).rowcount
        filled += count
        if count < PIECE:
            break
    return filled


def _digests(vault: Vault, row: Row[Any]) -> tuple[bytes | None, int | None]:
    """The digest of its URL as it is stored, and its destination. Raises WrongEncryptionKey,
    Unreadable."""
    if row.url_ciphertext is None or row.url_digest is None:  # deleted
        return None, None
    place = Place("webhooks", "url_ciphertext", row.id)
    return bytes(row.url_digest), destination(vault.digest_secret, vault.decrypt(row.url_ciphertext, place))
