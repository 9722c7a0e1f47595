"""The two statements that claim: due deliveries, one webhook after the other, and what passes an open circuit.

Their shape follows measurements. There are three partial indexes, one per open state, so that a claim never reads what
it cannot take. A recursive scan goes from webhook to webhook along the index: `ORDER BY due_at` over all deliveries
would take from the largest backlog only, and excluding busy webhooks would read through their backlogs.
"""
# ruff: noqa: S608 - composed of constants

from uuid import UUID

from dispatcher.db.prepared import Prepared
from dispatcher.deliveries.deaths import SUSPECT
from dispatcher.states import State
from dispatcher.webhooks.contract import FORMAT
from workers.claims.concurrency import ConcurrencyClass

BODY_CAP = 1024 * 1024  # bytes of a request's body; a single message may be larger
MAX_BYTES = 4 * 1024 * 1024  # of messages per claim; the process has four copies of them for a moment

# One odd value must not fail the statement, which would stop everybody: each is bounded where it is read.
_BATCH_LIMIT = "CASE WHEN batch_limit < 1 THEN 1 ELSE batch_limit END"
_BATCH_SIZE = "greatest(w.batch_size, 1)"
RATE_LIMIT = "CASE WHEN w.rate_limit IS NOT NULL THEN greatest(least(w.rate_limit, 100000), 0.01) END"
USED_UNTIL = """CASE WHEN r.used_until NOT BETWEEN now() - interval '1 day' AND now() + interval '1 day'
  THEN now() - interval '1 day' ELSE r.used_until END"""

# Bytes of a message. Deliveries that an older version stored do not say it.
_SIZE = """CASE WHEN size > 0 THEN least(size, 1000000000)
             ELSE (SELECT octet_length(e.data) FROM dispatcher.events e WHERE e.id = due.event_id) END"""


def _due(account: str, webhook: str, *, retry: bool, most: str, size: bool = False) -> str:
    """The due deliveries of one webhook, the ones due longest first. The index keeps first attempts and retries
    apart."""
    found, given = (", event_id, size", f" {_SIZE} AS size,") if size else ("", "")
    return f"""
      SELECT id, tid, {_BATCH_LIMIT} AS batch_limit,{given} row_number() OVER () AS turn, {retry} AS is_retry FROM (
        SELECT id, ctid AS tid, batch_limit{found} FROM dispatcher.deliveries
        WHERE state = '{State.READY}' AND account_no = {account} AND webhook_id = {webhook} AND is_retry = {retry}
          AND due_at <= now() AND deaths < {SUSPECT}
        ORDER BY due_at LIMIT {most} FOR UPDATE SKIP LOCKED) due"""


# By the rows' places in the table: they are locked, so they stay there. No statistics can mislead this, and looking ids
# up costs a twentieth of the claim.
TAKEN = f"""
taken AS (
  UPDATE dispatcher.deliveries
  SET state = '{State.CLAIMED}', attempt_count = least(attempt_count, 2147483646) + 1, claimed_by = CAST(:me AS uuid),
      claimed_until = now() + :span
  WHERE ctid = ANY(ARRAY(SELECT tid FROM picked))
  RETURNING id, account_no, webhook_id, attempt_count, schedule_step, {_BATCH_LIMIT} AS batch_limit, event_id,
    give_up_at, due_at)"""

# In the order of the fields of `Claim`.
COLUMNS = """
  t.id::text, t.account_no, t.webhook_id::text, p.version, t.attempt_count, t.schedule_step, t.batch_limit, p.failing,
  p.trial, t.event_id::text, e.type, e.app,
  -- Enqueueing never sets give_up_at beyond expires_at; a redelivery by a person may, and then expires_at is ignored.
  CASE WHEN t.give_up_at <= e.expires_at THEN e.expires_at END AS expires_at,
  e.occurred_at, e.data, now() AS claimed_at, pg_current_xact_id_if_assigned()::text AS transaction,
  substr(e.traceparent, 4, 32) AS trace_id"""

# The bucket of a rate limit holds the messages of a tenth of a second, at least one.
_BURST = "greatest(1, o.rate_limit / 10)"
_ROOM = "CASE WHEN o.rate_limit IS NULL THEN o.most ELSE least(o.most, coalesce(r.most, 0)) END"

# Nothing of a suspended account is claimed. A scalar, so that no plan joins all accounts.
NOT_SUSPENDED = "(SELECT a.suspended_at IS NULL FROM dispatcher.accounts a WHERE a.id = w.account_id)"

# What a newer version wrote in a format of its own waits for newer workers.
READABLE = f"w.quarantined_at IS NULL AND w.format <= {FORMAT}"

# What a message takes of a request's body, with what is left over if all messages had its size.
_PART_OF_BODY = "o.body / greatest(1, (o.body - 1) / (size + 1))"

# What a claim takes of what it found: first what the account has room for, then, if destinations are crowded, what the
# destination has room for, as a whole and for the account.
_RANKED_BY_ACCOUNT = f"""
        SELECT *, row_number() OVER of_account <= account_room
                    AND (class = {ConcurrencyClass.PROVEN:d}
                         OR row_number() OVER of_account_and_kind <= account_lasting)
                    -- One that is larger than an account's part can be goes alone, while the account has all of it.
                    AND (sum(bytes) OVER of_account <= least(account_bytes, :bytes_at_once)
                         OR sum(bytes) OVER of_account = bytes
                            AND (bytes <= account_bytes OR account_bytes >= :whole_part)) AS has_room
        FROM found
        WINDOW of_account AS (PARTITION BY account_no ORDER BY n ROWS UNBOUNDED PRECEDING),
               of_account_and_kind AS (PARTITION BY account_no, class = {ConcurrencyClass.PROVEN:d}
                                       ORDER BY n ROWS UNBOUNDED PRECEDING)"""
_RANKED_ALONE = f"SELECT *, has_room AS has_place FROM ({_RANKED_BY_ACCOUNT}) f"
_RANKED_IN_CROWDS = f"""
      SELECT *, may_have AND (place IS NULL OR count(*) FILTER (WHERE may_have) OVER of_place <= place_free)
                  AS has_place
      FROM (
        SELECT *, has_room AND (place IS NULL OR row_number() OVER of_place_and_account <= place_room) AS may_have
        FROM ({_RANKED_BY_ACCOUNT}) f
        WINDOW of_place_and_account AS (PARTITION BY account_no, place ORDER BY n ROWS UNBOUNDED PRECEDING)) f
      WINDOW of_place AS (PARTITION BY place ORDER BY n ROWS UNBOUNDED PRECEDING)"""

# The place of a webhook is its crowd, or else its destination; without a place (an older version did not store the
# destination) nothing bounds it. The destinations are sorted, and each is found by halves: a join, planned for a few of
# them, compares each webhook with thousands.
_OF_CROWDS = f"""
  CROSS JOIN LATERAL (
    SELECT CASE WHEN (:destinations)[at] = w.destination THEN (:crowds)[at] END AS crowd
    FROM (SELECT width_bucket(w.destination, :destinations) AS at) at) c
  LEFT JOIN unnest(:own_crowds, :own_accounts, :own_rooms) o(crowd, account_no, room)
    ON o.crowd = c.crowd AND o.account_no = s.account_no
  CROSS JOIN LATERAL (
    SELECT coalesce(c.crowd, w.destination) AS place,
           coalesce((:crowds_free)[c.crowd], :destination_room) AS place_free,
           coalesce(o.room, (:crowd_rooms)[c.crowd], :destination_room)
             - CASE WHEN s.class = {ConcurrencyClass.PROVEN:d} THEN 0 ELSE :kept_for_proven END AS place_room) p"""

# Nothing should be locked that will not be taken: webhooks that share what little room a place has find twice their
# part.
_PART_OF_PLACE = """least(r.requests, CASE WHEN p.place IS NOT NULL
                     THEN greatest(1, 2 * least(p.place_room, :limit) / count(*) OVER (PARTITION BY p.place)) END)"""

# What an account may have of what passes an open circuit.
_CAPPED_ROOM = "coalesce((:account_rooms)[array_position(:accounts, {}.account_no)], :account_room)"


def _claim_ready(name: str, *, crowded: bool) -> Prepared:
    """The statement that claims what is ready. What bounds destinations costs 5 to 8 % of a claim's time, so it is only
    in the one for crowded destinations."""
    statement = f"""
WITH RECURSIVE accounts(account_no, first, round, n) AS (
  SELECT * FROM (
    (SELECT account_no, webhook_id, 0, 1 FROM dispatcher.deliveries
      WHERE state = '{State.READY}' AND account_no > :cursor ORDER BY account_no, webhook_id LIMIT 1)
    UNION ALL
    (SELECT account_no, webhook_id, 1, 1 FROM dispatcher.deliveries WHERE state = '{State.READY}'
      ORDER BY account_no, webhook_id LIMIT 1)
    LIMIT 1) first
  UNION ALL
  SELECT x.account_no, x.first, x.round, a.n + 1 FROM accounts a, LATERAL (
    (SELECT d.account_no, d.webhook_id, a.round FROM dispatcher.deliveries d
      WHERE d.state = '{State.READY}' AND d.account_no > a.account_no ORDER BY d.account_no, d.webhook_id LIMIT 1)
    UNION ALL
    (SELECT d.account_no, d.webhook_id, 1 FROM dispatcher.deliveries d
      WHERE d.state = '{State.READY}' AND a.round = 0 ORDER BY d.account_no, d.webhook_id LIMIT 1)
    LIMIT 1) x(account_no, first, round)
  WHERE a.n < :steps AND (x.round = 0 OR x.account_no <= :cursor)),
-- Breadth first: a step of this recursion goes on from all rows of the step before, so every account has a turn before
-- one has its second. The LIMIT of `scan` ends it.
walk(account_no, room, lasting, bytes, start, webhook_id, round) AS (
  SELECT a.account_no, a.room, a.lasting, a.bytes, coalesce(a.start, '{UUID(int=0)}'), x.webhook_id, x.round
  FROM (
    SELECT a.account_no, a.first, p.start, coalesce(p.room, :account_room) AS room,
           coalesce(p.lasting, :lasting_room) AS lasting, coalesce(p.bytes, :bytes_of_one) AS bytes
    FROM accounts a
    LEFT JOIN unnest(:accounts, :places, :account_rooms, :lasting_rooms, :account_bytes)
      p(account_no, start, room, lasting, bytes)
      ON p.account_no = a.account_no
    ORDER BY a.n) a
  CROSS JOIN LATERAL (
    (SELECT d.webhook_id, 0 FROM dispatcher.deliveries d
      WHERE a.start IS NOT NULL AND d.state = '{State.READY}' AND d.account_no = a.account_no AND d.webhook_id > a.start
      ORDER BY d.webhook_id LIMIT 1)
    UNION ALL
    (SELECT a.first, CASE WHEN a.start IS NULL THEN 0 ELSE 1 END)
    LIMIT 1) x(webhook_id, round)
  WHERE a.room > 0 AND a.bytes > 0
    AND (a.account_no = 0
         OR coalesce((SELECT suspended_at IS NULL FROM dispatcher.accounts WHERE number = a.account_no), true))
  UNION ALL
  SELECT w.account_no, w.room, w.lasting, w.bytes, w.start, x.webhook_id, x.round FROM walk w, LATERAL (
    (SELECT d.webhook_id, w.round FROM dispatcher.deliveries d
      WHERE d.state = '{State.READY}' AND d.account_no = w.account_no AND d.webhook_id > w.webhook_id
      ORDER BY d.webhook_id LIMIT 1)
    UNION ALL
    (SELECT d.webhook_id, 1 FROM dispatcher.deliveries d
      WHERE d.state = '{State.READY}' AND d.account_no = w.account_no AND w.round = 0 ORDER BY d.webhook_id LIMIT 1)
    LIMIT 1) x(webhook_id, round)
  WHERE x.round = 0 OR x.webhook_id <= w.start),
scan AS MATERIALIZED (
  SELECT *, count(*) OVER (PARTITION BY account_no) AS webhooks
  FROM (SELECT account_no, room, lasting, bytes, webhook_id, row_number() OVER () AS n FROM walk LIMIT :steps) w),
claimable AS MATERIALIZED (
  SELECT s.n, s.account_no, s.account_room, s.account_lasting, s.account_bytes, s.class, w.*, r.requests,
         {"p.*," if crowded else ""} least({BODY_CAP}, s.account_bytes, :bytes_at_once) AS body,
         least({_PART_OF_PLACE if crowded else "r.requests"} * w.batch_size,
               greatest(w.batch_size, :share / (SELECT count(*) FROM accounts) / s.webhooks)) AS most
  FROM (
    -- Webhooks without any room must not use up the limit of those that have some.
    SELECT s.n, s.account_no, s.webhook_id, s.webhooks, s.room AS account_room,
           s.lasting AS account_lasting, s.bytes AS account_bytes,
           coalesce(b.room, :first_limit) AS room, coalesce(b.class, {ConcurrencyClass.NEW:d}) AS class
    FROM scan s CROSS JOIN LATERAL (
      SELECT CASE WHEN known THEN (:rooms)[at] END AS room, CASE WHEN known THEN (:classes)[at] END AS class
      FROM (SELECT at, (:ids)[at] = s.webhook_id AS known FROM (SELECT width_bucket(s.webhook_id, :ids) AS at) at) at) b
    WHERE (:class_rooms)[coalesce(b.class, {ConcurrencyClass.NEW:d}) + 1] > 0 AND coalesce(b.room, :first_limit) > 0
      AND (b.class = {ConcurrencyClass.PROVEN:d} OR s.lasting > 0)
    OFFSET 0) s
  CROSS JOIN LATERAL (
    SELECT w.id, w.version, {_BATCH_SIZE} AS batch_size, {RATE_LIMIT} AS rate_limit, w.destination,
           g.webhook_id IS NOT NULL AS failing
    FROM dispatcher.webhooks w LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
    WHERE w.id = s.webhook_id AND w.enabled AND {READABLE} AND w.deleted_at IS NULL
      AND (g.opened_at IS NULL OR NOT :circuit_breakers)
      AND (s.account_no > 0 OR {NOT_SUSPENDED})
    OFFSET 0) w
{_OF_CROWDS if crowded else ""}
  CROSS JOIN LATERAL (SELECT least(s.room, s.account_room, {"p.place_room," if crowded else ""} :limit) AS requests) r
  WHERE r.requests > 0),
found AS MATERIALIZED (
  SELECT o.n, o.account_no, o.account_room, o.account_lasting, o.account_bytes, o.id AS webhook_id, o.class,
         o.failing, o.version, {"o.place, o.place_free, o.place_room," if crowded else ""} d.ids, d.tids, d.bytes
  FROM (SELECT * FROM claimable ORDER BY n) o
  LEFT JOIN LATERAL (
    -- Negative if another claim used up the rate after this one began.
    SELECT floor(greatest(0, least(extract(epoch FROM now() - {USED_UNTIL}) * o.rate_limit, {_BURST}))) AS most
    FROM dispatcher.rates r WHERE webhook_id = o.id FOR UPDATE SKIP LOCKED) r ON o.rate_limit IS NOT NULL
  CROSS JOIN LATERAL (
    WITH due AS MATERIALIZED (
      SELECT id, tid, batch_limit, size, row_number() OVER () AS place
      FROM (
        SELECT id, tid, batch_limit, size
        FROM ({_due("o.account_no", "o.id", retry=False, most=_ROOM, size=True)}
        UNION ALL{_due("o.account_no", "o.id", retry=True, most=_ROOM, size=True)}) both_kinds
        ORDER BY turn, is_retry <> :retries_first LIMIT {_ROOM}) due)
    SELECT ARRAY[id] AS ids, ARRAY[tid] AS tids, size AS bytes FROM due WHERE o.batch_size = 1
    UNION ALL
    (SELECT array_agg(id), array_agg(tid), least(sum(size), 2147483647)::integer
     FROM (
       -- Deliveries that failed in a batch share only smaller batches with each other.
       SELECT id, tid, batch_limit, place, size,
              greatest((row_number() OVER w - 1) / least(o.batch_size, batch_limit),
                       (sum({_PART_OF_BODY}) OVER w - 1) / o.body) AS part
       FROM due WHERE o.batch_size > 1 WINDOW w AS (PARTITION BY batch_limit ORDER BY place)) parts
     GROUP BY batch_limit, part ORDER BY min(place))
    LIMIT o.requests) d
  LIMIT :limit),
-- What an account has no room for must not use up the room of its destination, what that has no room for not the room
-- of its class, and none of them that of all.
ranked AS MATERIALIZED (
  SELECT n, account_no, webhook_id, ids, tids, failing, version, has_room, has_class_room,
         sum(cardinality(ids)) FILTER (WHERE has_class_room) OVER of_all <= :messages
           AND sum(bytes) FILTER (WHERE has_class_room) OVER of_all <= greatest(:bytes, bytes) AS fits
  FROM (
    SELECT *, has_place AND count(*) FILTER (WHERE has_place) OVER of_class <= (:class_rooms)[class + 1]
                AS has_class_room
    FROM ({_RANKED_IN_CROWDS if crowded else _RANKED_ALONE}) f
    WINDOW of_class AS (PARTITION BY class ORDER BY n ROWS UNBOUNDED PRECEDING)) f
  WINDOW of_all AS (ORDER BY n ROWS UNBOUNDED PRECEDING)),
picked AS MATERIALIZED (
  SELECT unnest(ids) AS id, unnest(tids) AS tid, webhook_id, n, failing, version, false AS trial FROM ranked
  WHERE has_class_room AND fits),
paced AS (
  UPDATE dispatcher.rates r
  SET used_until = greatest({USED_UNTIL}, now() - interval '1 second' * {_BURST} / o.rate_limit)
                   + interval '1 second' * p.messages / o.rate_limit
  FROM (SELECT webhook_id, count(*) AS messages FROM picked GROUP BY webhook_id) p
  JOIN claimable o ON o.id = p.webhook_id AND o.rate_limit IS NOT NULL
  WHERE r.webhook_id = p.webhook_id),
{TAKEN}
SELECT v.accounts, v.last_account, v.visited, v.is_full, v.paced,
       -- Where accounts were not passed whole. In one row only, because it is long.
       CASE WHEN row_number() OVER () = 1 THEN (
         SELECT string_agg(s.account_no || ' ' || s.webhook_id, ',' ORDER BY s.n)
         FROM scan s LEFT JOIN (
           SELECT account_no, max(n) FILTER (WHERE has_class_room AND fits) AS last FROM ranked
           GROUP BY account_no HAVING NOT bool_and(has_room)) cut ON cut.account_no = s.account_no
         WHERE (v.visited >= :steps OR v.is_full OR cut.account_no IS NOT NULL)
           AND s.n <= coalesce(least(cut.last, CASE WHEN v.is_full THEN v.last END), s.n)) END AS passed,
       {COLUMNS}
FROM (SELECT (SELECT max(n) FROM picked) AS last,
             (SELECT count(*) FROM accounts) AS accounts,
             (SELECT account_no FROM accounts ORDER BY n DESC LIMIT 1) AS last_account,
             (SELECT count(*) FROM scan) AS visited,
             (SELECT count(*) >= :limit OR bool_or(has_class_room AND NOT fits) FROM ranked) AS is_full,
             (SELECT count(*) FROM claimable o WHERE o.rate_limit IS NOT NULL AND o.most > 0 AND NOT EXISTS (
                SELECT 1 FROM found f WHERE f.webhook_id = o.id)) AS paced) v
LEFT JOIN (
  taken t JOIN picked p USING (id)
  -- By key, also with a plan that was made when there were no events.
  CROSS JOIN LATERAL (SELECT * FROM dispatcher.events WHERE id = t.event_id OFFSET 0) e) ON true
ORDER BY p.n, t.due_at, t.event_id
"""
    types = {
        "limit": "integer",
        "steps": "integer",
        "cursor": "integer",
        "accounts": "integer[]",
        "places": "uuid[]",
        "account_rooms": "integer[]",
        "lasting_rooms": "integer[]",
        "account_bytes": "integer[]",
        "account_room": "integer",
        "lasting_room": "integer",
        "bytes_of_one": "integer",
        "whole_part": "integer",
        "bytes_at_once": "integer",
        "first_limit": "integer",
        "share": "integer",
        "ids": "uuid[]",
        "rooms": "integer[]",
        "classes": "integer[]",
        "class_rooms": "integer[]",
        "messages": "integer",
        "bytes": "integer",
        "retries_first": "boolean",
        "circuit_breakers": "boolean",
        "me": "uuid",
        "span": "interval",
    }
    of_crowds = {
        "destinations": "bigint[]",
        "crowds": "integer[]",
        "crowds_free": "integer[]",
        "crowd_rooms": "integer[]",
        "own_crowds": "integer[]",
        "own_accounts": "integer[]",
        "own_rooms": "integer[]",
        "destination_room": "integer",
        "kept_for_proven": "integer",
    }
    return Prepared(name, statement, types | of_crowds if crowded else types, plan_seconds=1)


CLAIM_READY = _claim_ready("dispatcher_claim", crowded=False)
CLAIM_READY_IN_CROWDS = _claim_ready("dispatcher_claim_in_crowds", crowded=True)
CLAIM_PASSING = Prepared(
    "dispatcher_claim_passing",
    f"""
WITH open AS MATERIALIZED (
  SELECT g.webhook_id, w.account_no, w.version, g.trial_at, {RATE_LIMIT} AS rate_limit
  FROM dispatcher.circuit_breakers g
  JOIN dispatcher.webhooks w ON w.id = g.webhook_id AND w.enabled AND {READABLE} AND w.deleted_at IS NULL
  LEFT JOIN dispatcher.rates r ON r.webhook_id = w.id
  WHERE g.opened_at IS NOT NULL AND (w.rate_limit IS NULL OR {USED_UNTIL} <= now()) AND {NOT_SUSPENDED}
    AND (w.destination = ANY(:full)) IS NOT TRUE AND {_CAPPED_ROOM.format("w")} > 0),
due AS MATERIALIZED (
  SELECT webhook_id, account_no, row_number() OVER () AS n
  FROM (
    SELECT open.account_no, g.webhook_id FROM dispatcher.circuit_breakers g JOIN open USING (webhook_id)
    WHERE g.opened_at IS NOT NULL AND g.trial_at <= now()
      -- A circuit with nothing due behind it must not use up the limit. A scalar, because a join would read every ready
      -- row.
      AND (SELECT true FROM dispatcher.deliveries d
           WHERE d.state = '{State.READY}' AND d.account_no IN (0, open.account_no) AND d.webhook_id = g.webhook_id
             AND d.due_at <= now() LIMIT 1)
    ORDER BY g.trial_at LIMIT :most FOR UPDATE OF g SKIP LOCKED) g),
trials AS MATERIALIZED (
  SELECT p.id, p.tid, due.webhook_id, due.n, open.version, true AS trial
  FROM due JOIN open USING (webhook_id) CROSS JOIN LATERAL (
    -- What an older version stored has no account yet.
    SELECT id, both_kinds.tid FROM ({_due("due.account_no", "due.webhook_id", retry=False, most="1")}
    UNION ALL{_due("due.account_no", "due.webhook_id", retry=True, most="1")}
    UNION ALL{_due("0", "due.webhook_id", retry=False, most="1")}
    UNION ALL{_due("0", "due.webhook_id", retry=True, most="1")}) both_kinds
    JOIN dispatcher.deliveries d USING (id) ORDER BY d.due_at LIMIT 1) p),
asked AS MATERIALIZED (
  SELECT a.id, a.tid, open.webhook_id, 0 AS n, open.version, false AS trial
  FROM open CROSS JOIN LATERAL (
    SELECT id, ctid AS tid, due_at FROM dispatcher.deliveries
    WHERE state = '{State.READY}' AND bypasses_circuit AND webhook_id = open.webhook_id AND due_at <= now()
      AND deaths < {SUSPECT}
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) a
  ORDER BY a.due_at LIMIT :most),
picked AS MATERIALIZED (
  SELECT p.id, p.tid, p.webhook_id, p.n, p.version, p.trial, p.failing
  FROM (
    SELECT p.*, open.account_no, row_number() OVER (PARTITION BY open.account_no ORDER BY p.n) AS of_account
    FROM (
      SELECT DISTINCT ON (webhook_id) *, true AS failing FROM (SELECT * FROM trials UNION ALL SELECT * FROM asked) p
      ORDER BY webhook_id, trial DESC LIMIT :most) p
    JOIN open USING (webhook_id)
    -- Nothing waits for a rate that somebody has locked.
    LEFT JOIN LATERAL (
      SELECT 1 AS row FROM dispatcher.rates WHERE webhook_id = p.webhook_id FOR NO KEY UPDATE SKIP LOCKED) r
      ON open.rate_limit IS NOT NULL
    WHERE open.rate_limit IS NULL OR r.row IS NOT NULL) p
  WHERE of_account <= {_CAPPED_ROOM.format("p")}),
sent AS (
  UPDATE dispatcher.circuit_breakers g SET trial_at = now() + :span
  FROM picked p WHERE g.webhook_id = p.webhook_id AND p.trial),
paced AS (
  UPDATE dispatcher.rates r
  SET used_until = greatest({USED_UNTIL}, now()) + interval '1 second' / c.rate_limit
  FROM picked p JOIN open c USING (webhook_id) WHERE r.webhook_id = p.webhook_id AND c.rate_limit IS NOT NULL),
{TAKEN}
SELECT {COLUMNS}
FROM taken t JOIN picked p USING (id)
CROSS JOIN LATERAL (SELECT * FROM dispatcher.events WHERE id = t.event_id OFFSET 0) e  -- by key, as above
ORDER BY t.webhook_id, t.due_at, t.event_id
""",
    {
        "full": "bigint[]",
        "accounts": "integer[]",
        "account_rooms": "integer[]",
        "account_room": "integer",
        "most": "integer",
        "me": "uuid",
        "span": "interval",
    },
    plan_seconds=1,
)
