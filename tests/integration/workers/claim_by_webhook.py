"""The claim of version 0.2.0: from webhook to webhook, whatever account they belong to. A claim of this version must
find the same deliveries."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from dispatcher.db.arrays import array
from dispatcher.states import State
from workers.claims.concurrency import ConcurrencyClass, Rooms

WEBHOOKS_AT_MOST = 200  # that a test has
SCAN_STEPS = 100  # webhooks one claim visits

# The due deliveries of one webhook, the ones due longest first. Two scans, because the index keeps first attempts and
# retries apart.
_DUE = f"""
      SELECT id, batch_limit, row_number() OVER () AS turn, {{retry}} AS is_retry FROM (
        SELECT id, batch_limit FROM dispatcher.deliveries
        WHERE state = '{State.READY}' AND webhook_id = {{webhook}} AND is_retry = {{retry}} AND due_at <= now()
        ORDER BY due_at LIMIT {{most}} FOR UPDATE SKIP LOCKED) due"""

# Looks rows up by primary key only: with old statistics the planner would otherwise read every ready row.
_TAKEN = f"""
taken AS (
  UPDATE dispatcher.deliveries
  SET state = '{State.CLAIMED}', attempt_count = attempt_count + 1, claimed_by = CAST(:me AS uuid),
      claimed_until = now() + :span
  WHERE id = ANY(ARRAY(SELECT id FROM picked))
  RETURNING id, webhook_id, attempt_count, schedule_step, batch_limit, event_id, give_up_at, due_at)"""

# In the order of the fields of `Claim`.
_COLUMNS = """
  t.id::text, t.webhook_id::text, p.version, t.attempt_count, t.schedule_step, t.batch_limit, p.failing, p.trial,
  t.event_id::text, e.type, e.app,
  -- Enqueueing never sets give_up_at beyond expires_at; a redelivery by a person may, and then expires_at is ignored.
  CASE WHEN t.give_up_at <= e.expires_at THEN e.expires_at END AS expires_at,
  e.occurred_at, e.data, now() AS claimed_at"""

# The bucket of a rate limit holds the messages of a tenth of a second, at least one.
_BURST = "greatest(1, o.rate_limit / 10)"
_ROOM = "CASE WHEN o.rate_limit IS NULL THEN o.most ELSE least(o.most, coalesce(r.most, 0)) END"

# psycopg2 sends values as literals. With a parameter as LIMIT the planner would guess, and read far too much.
CLAIM_READY = text(f"""
WITH RECURSIVE scan(webhook_id, round, n) AS (
  SELECT * FROM (
    (SELECT webhook_id, 0, 1 FROM dispatcher.deliveries
      WHERE state = '{State.READY}' AND webhook_id > CAST(:cursor AS uuid) ORDER BY webhook_id LIMIT 1)
    UNION ALL
    (SELECT webhook_id, 1, 1 FROM dispatcher.deliveries WHERE state = '{State.READY}' ORDER BY webhook_id LIMIT 1)
    LIMIT 1) first
  UNION ALL
  SELECT x.webhook_id, x.round, h.n + 1 FROM scan h, LATERAL (
    (SELECT d.webhook_id, h.round FROM dispatcher.deliveries d
      WHERE d.state = '{State.READY}' AND d.webhook_id > h.webhook_id ORDER BY d.webhook_id LIMIT 1)
    UNION ALL
    (SELECT d.webhook_id, 1 FROM dispatcher.deliveries d
      WHERE d.state = '{State.READY}' AND h.round = 0 ORDER BY d.webhook_id LIMIT 1)
    LIMIT 1) x(webhook_id, round)
  WHERE h.n < {SCAN_STEPS} AND (x.round = 0 OR x.webhook_id <= CAST(:cursor AS uuid))),
claimable AS MATERIALIZED (
  SELECT h.n, w.*, coalesce(b.class, {ConcurrencyClass.NEW:d}) AS class,
         least(coalesce(b.room, :first_limit), :limit) AS requests,
         least(least(coalesce(b.room, :first_limit), :limit) * w.batch_size, greatest(w.batch_size, :share)) AS most
  FROM scan h
  CROSS JOIN LATERAL (
    SELECT w.id, w.version, w.batch_size, w.rate_limit, g.webhook_id IS NOT NULL AS failing
    FROM dispatcher.webhooks w LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
    WHERE w.id = h.webhook_id AND w.enabled AND w.deleted_at IS NULL AND (g.opened_at IS NULL OR NOT :circuit_breakers)
    OFFSET 0) w
  LEFT JOIN unnest(CAST(:ids AS uuid[]), CAST(:rooms AS integer[]), CAST(:classes AS integer[])) b(id, room, class)
    ON b.id = w.id
  -- Webhooks without any room must not use up the limit of those that have some.
  WHERE (CAST(:class_rooms AS integer[]))[coalesce(b.class, {ConcurrencyClass.NEW:d}) + 1] > 0),
found AS MATERIALIZED (
  SELECT o.n, o.id AS webhook_id, o.class, o.failing, o.version, d.ids
  FROM claimable o
  LEFT JOIN LATERAL (
    -- Negative if another claim used up the rate after this one began.
    SELECT floor(greatest(0, least(extract(epoch FROM now() - used_until) * o.rate_limit, {_BURST}))) AS most
    FROM dispatcher.rates WHERE webhook_id = o.id FOR UPDATE SKIP LOCKED) r ON o.rate_limit IS NOT NULL
  CROSS JOIN LATERAL (
    -- Deliveries that failed in a batch share only smaller batches with each other.
    SELECT array_agg(id) AS ids FROM (
      SELECT id, batch_limit, place,
             (row_number() OVER (PARTITION BY batch_limit ORDER BY place) - 1)
               / least(o.batch_size, batch_limit) AS part
      FROM (
        SELECT id, batch_limit, row_number() OVER (ORDER BY turn, is_retry <> :retries_first) AS place
        FROM ({_DUE.format(retry="false", webhook="o.id", most=_ROOM)}
        UNION ALL{_DUE.format(retry="true", webhook="o.id", most=_ROOM)}) both_kinds
        ORDER BY place
        LIMIT {_ROOM}) placed) parts
    GROUP BY batch_limit, part ORDER BY min(place) LIMIT o.requests) d
  LIMIT :limit),
picked AS MATERIALIZED (
  SELECT unnest(ids) AS id, webhook_id, n, failing, version, false AS trial
  FROM (SELECT *, row_number() OVER (PARTITION BY class ORDER BY n) AS place,
               sum(cardinality(ids)) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS messages FROM found) f
  WHERE place <= (CAST(:class_rooms AS integer[]))[class + 1] AND messages <= :messages),
paced AS (
  UPDATE dispatcher.rates r
  SET used_until = greatest(r.used_until, now() - interval '1 second' * {_BURST} / o.rate_limit)
                   + interval '1 second' * p.messages / o.rate_limit
  FROM (SELECT webhook_id, count(*) AS messages FROM picked GROUP BY webhook_id) p
  JOIN claimable o ON o.id = p.webhook_id AND o.rate_limit IS NOT NULL
  WHERE r.webhook_id = p.webhook_id),
{_TAKEN}
SELECT v.*, {_COLUMNS}
FROM (SELECT (SELECT webhook_id::text FROM picked ORDER BY n DESC LIMIT 1) AS last_claimed,
             (SELECT webhook_id::text FROM scan ORDER BY n DESC LIMIT 1) AS last_visited,
             (SELECT count(*) FROM scan) AS visited,
             (SELECT count(*) >= :limit OR sum(cardinality(ids)) > :messages FROM found) AS is_full,
             (SELECT count(*) FROM claimable o WHERE o.rate_limit IS NOT NULL AND o.most > 0 AND NOT EXISTS (
                SELECT 1 FROM found f WHERE f.webhook_id = o.id)) AS paced) v
LEFT JOIN (taken t JOIN picked p USING (id) JOIN dispatcher.events e ON e.id = t.event_id) ON true
ORDER BY p.n, t.due_at, t.event_id
""")


def claim_until_empty(connection: Connection, rooms: Rooms, limit: int) -> list[Row[Any]]:
    """The rows of all claims that find something, and then a whole round that finds nothing."""
    found: list[Row[Any]] = []
    cursor, passed = str(UUID(int=0)), 0
    while passed < WEBHOOKS_AT_MOST:
        rows = connection.execute(
            CLAIM_READY,
            {
                "limit": limit,
                "first_limit": rooms.first,
                "share": 100,
                "cursor": cursor,
                "ids": array([room.webhook_id for room in rooms.known]),
                "rooms": array([room.free for room in rooms.known]),
                "classes": array([room.concurrency_class for room in rooms.known]),
                "class_rooms": array([rooms.classes.get(each, limit) for each in ConcurrencyClass]),
                "messages": 1_000,
                "retries_first": False,
                "circuit_breakers": True,
                "me": str(uuid4()),
                "span": timedelta(minutes=2),
            },
        ).all()
        cursor = (rows[0].last_claimed if rows[0].is_full else rows[0].last_visited) or cursor
        claimed = [row for row in rows if row.id is not None]
        found += claimed
        passed = 0 if claimed else passed + SCAN_STEPS
    return found
