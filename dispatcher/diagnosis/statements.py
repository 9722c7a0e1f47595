"""The statements that read what is shown: a few for each page, each by an index and for a bounded number of rows,
whatever the tables hold."""
# ruff: noqa: S608 - composed of constants

from sqlalchemy import text

from dispatcher.states import State
from dispatcher.webhooks.contract import FORMAT

COUNTED = 10_000  # rows of a kind that are counted one by one
VISITED = 1_000  # webhooks that one look for the oldest due delivery goes to
_BUSY = 20_000  # claimed deliveries that are looked at

_ORDERS = {
    State.READY: ("webhook_id, is_retry, due_at", "deliveries_ready_idx"),
    State.WAITING: ("due_at", "deliveries_waiting_idx"),
    State.CLAIMED: ("claimed_until", "deliveries_claimed_idx"),
}


def _counted(table: str, condition: str, order: str, most: int = COUNTED) -> str:
    """How many rows there are, up to `most`. The order keeps the plan on the index."""
    return (
        f"(SELECT count(*) FROM (SELECT 1 FROM dispatcher.{table} WHERE {condition} ORDER BY {order} LIMIT {most}) c)"
    )


def _open(state: State) -> str:
    order, index = _ORDERS[state]
    return f"""
  (SELECT CASE WHEN n < {COUNTED} THEN n ELSE greatest(n, (
     SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass('dispatcher.{index}'))) END
   FROM (SELECT {_counted("deliveries", f"state = '{state}'", order)} AS n OFFSET 0) counted) AS open_{state}"""


def _age(found: str) -> str:
    return f"greatest(0, extract(epoch FROM now() - {found}))"


WORK = text(f"""
SELECT {", ".join(map(_open, _ORDERS))},
  coalesce({_age(f"(SELECT min(due_at) FROM dispatcher.deliveries WHERE state = '{State.WAITING}')")}, 0)
    AS retry_overdue,
  {_counted("deliveries", f"state = '{State.CLAIMED}' AND claimed_until < now()", "claimed_until")} AS expired_claims,
  {_counted("deliveries", f"state = '{State.READY}' AND deaths >= 2", "due_at")} AS suspects,
  {_counted("circuit_breakers", "opened_at IS NOT NULL", "trial_at")} AS circuits_open,
  d.now, d.failed, d.held_back, d.oldest
FROM (
  SELECT count(*) FILTER (WHERE held_for IS NULL AND failed_sends = 0) AS now,
    count(*) FILTER (WHERE held_for IS NULL AND failed_sends > 0) AS failed,
    count(*) FILTER (WHERE held_for IS NOT NULL) AS held_back,
    coalesce({_age("min(due_at) FILTER (WHERE held_for IS NULL)")}, 0) AS oldest
  FROM (SELECT due_at, held_for, failed_sends FROM dispatcher.notices WHERE due_at IS NOT NULL
        ORDER BY due_at LIMIT {COUNTED}) n) d
""")

_NEXT = f"""SELECT d.webhook_id FROM dispatcher.deliveries d
     WHERE d.state = '{State.READY}' AND d.webhook_id > {{after}} ORDER BY d.webhook_id LIMIT 1"""


def _first(retry: str) -> str:
    return f"""(SELECT d.due_at FROM dispatcher.deliveries d
     WHERE d.state = '{State.READY}' AND d.webhook_id = h.id AND d.is_retry = {retry} ORDER BY d.due_at LIMIT 1)"""


# A skip scan along the index of ready deliveries, as claims make it. A webhook with a request in flight is being
# served: what else it has waits for its own receiver.
OLDEST_DUE = text(f"""
WITH RECURSIVE hooks AS (
  SELECT ({_NEXT.format(after="CAST(:after AS uuid)")}) AS id, 1 AS number
  UNION ALL
  SELECT ({_NEXT.format(after="h.id")}), number + 1 FROM hooks h WHERE h.id IS NOT NULL AND number < {VISITED}),
busy AS (
  SELECT DISTINCT webhook_id FROM (
    SELECT webhook_id FROM dispatcher.deliveries WHERE state = '{State.CLAIMED}'
    ORDER BY claimed_until LIMIT {_BUSY}) claimed),
due AS MATERIALIZED (
  SELECT h.id, least({_first("false")}, {_first("true")}) AS due_at FROM hooks h WHERE h.id IS NOT NULL)
SELECT (SELECT count(*) FROM due) AS visited, (SELECT id FROM due ORDER BY id DESC LIMIT 1) AS last,
  coalesce(max({_age("d.due_at")}), 0) AS oldest
FROM due d
-- One by one: no plan reads all webhooks.
CROSS JOIN LATERAL (
  SELECT w.* FROM dispatcher.webhooks w WHERE w.id = d.id OFFSET 0) w
WHERE w.enabled AND w.deleted_at IS NULL AND w.quarantined_at IS NULL AND w.format <= {FORMAT}
  AND w.rate_limit IS NULL AND d.id NOT IN (SELECT webhook_id FROM busy)
  AND (SELECT g.opened_at FROM dispatcher.circuit_breakers g WHERE g.webhook_id = d.id) IS NULL
  AND (SELECT a.suspended_at IS NULL FROM dispatcher.accounts a WHERE a.id = w.account_id)
""")

# A time in the future is no heartbeat.
PROCESSES = text("""
SELECT kind, version, count(*) FILTER (WHERE age <= 30) AS alive, min(age) AS age,
  coalesce(string_agg(DISTINCT fault, ' ') FILTER (WHERE age <= 30), '') AS faults
FROM (SELECT kind, version, fault, extract(epoch FROM now() - seen_at) AS age FROM dispatcher.processes
      ORDER BY id DESC LIMIT 10000) p
WHERE age > -30 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 100
""")
ALL_PROCESSES = text("""
SELECT id, kind, host, pid, version, started_at, extract(epoch FROM now() - seen_at) AS age, doing, fault,
  coalesce(extract(epoch FROM now() - fault_since), 0) AS fault_for
FROM dispatcher.processes ORDER BY id DESC LIMIT 1000
""")
LEASES = text(f"SELECT name, {_age('until')} AS overdue FROM dispatcher.leases ORDER BY name LIMIT 20")

# By what the catalogue says: nothing is counted, and no table is locked.
TABLES = text("""
SELECT t.name, sum(t.pages) * CAST(current_setting('block_size') AS bigint) AS bytes, max(t.until) AS until
FROM (
  SELECT p.relname AS name, greatest(c.relpages, 0)
      + coalesce((SELECT greatest(x.relpages, 0) FROM pg_class x WHERE x.oid = c.reltoastrelid), 0)
      + coalesce((SELECT sum(greatest(x.relpages, 0)) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                  WHERE i.indrelid = c.oid), 0) AS pages,
    CASE WHEN c.oid <> p.oid THEN substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \\('([0-9a-f-]{36})'\\)$$) END
      AS until
  FROM pg_class p LEFT JOIN pg_inherits h ON h.inhparent = p.oid JOIN pg_class c ON c.oid = coalesce(h.inhrelid, p.oid)
  WHERE p.relnamespace = CAST('dispatcher' AS regnamespace) AND p.relname = ANY(:tables)) t
GROUP BY t.name
""")

SERVER = text("""
SELECT application_name AS name, count(*) AS connections,
  max(extract(epoch FROM now() - xact_start))
    FILTER (WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()) AS oldest,
  CAST(current_setting('max_connections') AS integer) AS most
FROM pg_stat_activity WHERE datname = current_database() GROUP BY application_name
""")

# There is no index for either: the newest ones are looked at.
_NEWEST = 20_000
QUARANTINED = text(f"""
SELECT id, quarantined_reason FROM (
  SELECT id, quarantined_at, quarantined_reason, deleted_at FROM dispatcher.webhooks ORDER BY id DESC LIMIT {_NEWEST}) w
WHERE quarantined_at IS NOT NULL AND deleted_at IS NULL LIMIT 1000
""")
# How many, and whose the newest is: they are listed by account. No row: none.
QUARANTINED_NOTICES = text(f"""
SELECT n.number, a.name AS account
FROM (SELECT count(*) AS number, (array_agg(webhook_id ORDER BY id DESC))[1] AS webhook_id
      FROM (SELECT id, webhook_id, quarantined_at FROM dispatcher.notices ORDER BY id DESC LIMIT {_NEWEST}) newest
      WHERE quarantined_at IS NOT NULL) n
CROSS JOIN LATERAL (SELECT account_id FROM dispatcher.webhooks WHERE id = n.webhook_id OFFSET 0) w
CROSS JOIN LATERAL (SELECT name FROM dispatcher.accounts WHERE id = w.account_id OFFSET 0) a
""")

# The webhooks that fail most, with their circuits. Only those that fail have a row.
SHOWN_FAILING = 5
FAILING = text(f"""
WITH failing AS MATERIALIZED (SELECT * FROM dispatcher.circuit_breakers ORDER BY webhook_id LIMIT {COUNTED})
SELECT (SELECT count(*) FROM failing) AS all_failing, g.webhook_id, g.failures, g.opened_at IS NOT NULL AS is_open,
  extract(epoch FROM now() - g.failing_since) AS failing_for, extract(epoch FROM g.trial_at - now()) AS trial_in,
  coalesce(w.name, w.url_masked) AS webhook, a.name AS account
FROM (SELECT * FROM failing ORDER BY opened_at IS NOT NULL DESC, failures DESC, webhook_id LIMIT {SHOWN_FAILING}) g
CROSS JOIN LATERAL (SELECT * FROM dispatcher.webhooks WHERE id = g.webhook_id OFFSET 0) w
CROSS JOIN LATERAL (SELECT name FROM dispatcher.accounts WHERE id = w.account_id OFFSET 0) a
ORDER BY is_open DESC, failures DESC, webhook_id
""")

# What the last minute brought: by the times in ids, the newest first. Where there is more than is counted, the time is
# shorter: up to the oldest that was counted.
RATE_SECONDS = 60
RATED = 20_000
RATES = text(f"""
WITH events AS MATERIALIZED (
  SELECT id FROM dispatcher.events WHERE id >= CAST(:since AS uuid) ORDER BY id DESC LIMIT {RATED}),
requests AS MATERIALIZED (
  SELECT id, verdict, messages FROM dispatcher.requests WHERE id >= CAST(:since AS uuid) ORDER BY id DESC LIMIT {RATED})
SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM requests) AS requests,
  (SELECT id FROM events ORDER BY id LIMIT 1) AS first_event,
  (SELECT id FROM requests ORDER BY id LIMIT 1) AS first_request,
  coalesce((SELECT sum(messages) FROM requests WHERE verdict = 'acknowledged'), 0) AS delivered,
  coalesce((SELECT sum(messages) FROM requests WHERE verdict <> 'acknowledged'), 0) AS failed
""")
