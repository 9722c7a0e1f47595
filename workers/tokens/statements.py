"""The statements on the table of tokens. What a loop's other webhooks depend on waits for no row that somebody has
locked."""

from sqlalchemy import text

FIND = text("""
SELECT w.id::text, t.credentials, t.fetch_id::text, t.next_fetch_at <= now() AS may_fetch, t.token_ciphertext,
       CAST(extract(epoch FROM t.expires_at - now()) AS double precision) AS seconds, t.after_refusal
FROM dispatcher.webhooks w LEFT JOIN dispatcher.tokens t ON t.webhook_id = w.id
WHERE w.id = ANY(CAST(:ids AS uuid[])) AND w.deleted_at IS NULL
""")

# In the same order in every process: two that begin to fetch for the same webhooks must not deadlock.
BEGIN = text("""
WITH unlocked AS MATERIALIZED (
  SELECT webhook_id FROM dispatcher.tokens WHERE webhook_id = ANY(CAST(:ids AS uuid[]))
  FOR NO KEY UPDATE SKIP LOCKED), referenced AS MATERIALIZED (
  SELECT id FROM dispatcher.webhooks WHERE id = ANY(CAST(:ids AS uuid[])) AND deleted_at IS NULL
  FOR KEY SHARE SKIP LOCKED)
INSERT INTO dispatcher.tokens AS t (webhook_id, credentials, fetch_id, next_fetch_at)
SELECT w.id, n.credentials, n.fetch_id, now() + interval '1 second' * :span
FROM unnest(CAST(:ids AS uuid[]), CAST(:credentials AS bytea[]), CAST(:fetch_ids AS uuid[]))
     AS n(webhook_id, credentials, fetch_id)
JOIN referenced w ON w.id = n.webhook_id
WHERE w.id IN (SELECT webhook_id FROM unlocked)
   OR NOT EXISTS (SELECT 1 FROM dispatcher.tokens WHERE webhook_id = w.id)
ORDER BY w.id
ON CONFLICT (webhook_id) DO UPDATE
SET credentials = excluded.credentials, fetch_id = excluded.fetch_id, next_fetch_at = excluded.next_fetch_at,
    token_ciphertext = NULL, expires_at = NULL,
    after_refusal = t.after_refusal AND t.credentials = excluded.credentials
WHERE t.credentials <> excluded.credentials
   OR t.next_fetch_at <= now() AND (t.token_ciphertext IS NULL OR t.expires_at <= now())
RETURNING webhook_id::text
""")

_UNLOCKED = """(
  SELECT webhook_id FROM dispatcher.tokens WHERE webhook_id = :id AND fetch_id = :fetch_id
  FOR NO KEY UPDATE SKIP LOCKED)"""

KEEP = text(f"""
UPDATE dispatcher.tokens t
SET token_ciphertext = :ciphertext, expires_at = now() + interval '1 second' * :seconds, next_fetch_at = now()
FROM dispatcher.webhooks w
WHERE t.webhook_id = {_UNLOCKED} AND w.id = t.webhook_id AND w.deleted_at IS NULL
RETURNING t.after_refusal
""")  # noqa: S608 - composed of constants

FAILED = text(f"""
UPDATE dispatcher.tokens SET next_fetch_at = now() + interval '1 second' * :pause WHERE webhook_id = {_UNLOCKED}
""")  # noqa: S608 - composed of constants

# The SELECT sees the row as it was before the UPDATE. A row without ciphertext was dropped already: other requests were
# refused with the same token. One that somebody has locked is not dropped yet.
REFUSE = text(f"""
WITH dropped AS (
  UPDATE dispatcher.tokens SET token_ciphertext = NULL, expires_at = NULL, after_refusal = true
  WHERE webhook_id = {_UNLOCKED} AND NOT after_refusal)
SELECT NOT EXISTS (
  SELECT 1 FROM dispatcher.tokens
  WHERE webhook_id = :id AND fetch_id = :fetch_id AND after_refusal AND token_ciphertext IS NOT NULL)
""")  # noqa: S608 - composed of constants

# Returns whether nothing is left to write: not if somebody has locked the row.
ACCEPT = text(f"""
WITH accepted AS (
  UPDATE dispatcher.tokens SET after_refusal = false WHERE webhook_id = {_UNLOCKED} RETURNING 1)
SELECT EXISTS (SELECT 1 FROM accepted) OR NOT EXISTS (
  SELECT 1 FROM dispatcher.tokens WHERE webhook_id = :id AND fetch_id = :fetch_id AND after_refusal)
""")  # noqa: S608 - composed of constants

DROP = text(f"DELETE FROM dispatcher.tokens WHERE webhook_id = {_UNLOCKED}")  # noqa: S608 - composed of constants
