"""Counts what the events of each account take: a step of upkeep, so it is a minute or two late. Enqueueing writes
nothing for it.

Each event is counted once, in the order of ids, into the row of its account and week. What retention removes goes with
its week. It is an estimate: what an event's deliveries take is not measured, and what is erased counts until its week
goes.
"""
# ruff: noqa: S608 - composed of constants

from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from sqlalchemy import Engine, text

from dispatcher.ids import first_id_at

PIECE = 10_000  # events that one transaction counts
SETTLED = 1_000  # accounts that one transaction changes
# Ids are made before the commit: later ones than this may still come before others.
LATE = timedelta(minutes=1)

EVENT_BYTES = 300  # of an event beside its message: columns, index entries
DELIVERY_BYTES = 1_000  # of a delivery with an attempt and a request, and their index entries

_MONDAY_MS, _WEEK_MS = 4 * 24 * 60 * 60 * 1000, 7 * 24 * 60 * 60 * 1000  # from 1970-01-05 on


def _week(identifier: str) -> str:
    """The week of an id, as partitions have it."""
    milliseconds = f"CAST(CAST('x' || substr(encode(uuid_send({identifier}), 'hex'), 1, 12) AS bit(48)) AS bigint)"
    return f"CAST(floor(({milliseconds} - {_MONDAY_MS}) / {_WEEK_MS}.0) AS integer)"


_LOCK = text("SELECT stored_to FROM dispatcher.installation FOR NO KEY UPDATE SKIP LOCKED")
COUNT = text(f"""
WITH piece AS MATERIALIZED (
  SELECT id, account_id, delivery_count, octet_length(data) AS size FROM dispatcher.events
  WHERE id > :reached AND id < :until ORDER BY id LIMIT {PIECE}),
added AS (
  INSERT INTO dispatcher.stored_events AS s (account_id, week, events, bytes)
  SELECT account_id, week, count(*),
         sum(size + {EVENT_BYTES} + CAST(greatest(0, delivery_count) AS bigint) * {DELIVERY_BYTES})
  FROM (SELECT *, {_week("id")} AS week FROM piece) p GROUP BY account_id, week ORDER BY account_id, week
  ON CONFLICT (account_id, week) DO UPDATE SET events = s.events + excluded.events, bytes = s.bytes + excluded.bytes)
SELECT (SELECT count(*) FROM piece) AS events, (SELECT id FROM piece ORDER BY id DESC LIMIT 1) AS reached
""")
_REACHED = text("UPDATE dispatcher.installation SET stored_to = :reached WHERE true")
_FORGET = text(f"""
DELETE FROM dispatcher.stored_events
WHERE week < (SELECT coalesce(
  (SELECT {_week("id")} FROM (SELECT id FROM dispatcher.events ORDER BY id LIMIT 1) first), 2147483647))
""")
# An account that somebody has locked is settled by the next run.
_SETTLE = text(f"""
WITH differ AS MATERIALIZED (
  SELECT a.id, coalesce(s.bytes, 0) AS bytes
  FROM dispatcher.accounts a
  LEFT JOIN (SELECT account_id, sum(bytes) AS bytes FROM dispatcher.stored_events GROUP BY account_id) s
    ON s.account_id = a.id
  WHERE coalesce(a.stored_bytes, 0) <> coalesce(s.bytes, 0) LIMIT {SETTLED}),
locked AS MATERIALIZED (
  SELECT a.id, d.bytes FROM dispatcher.accounts a JOIN differ d USING (id) FOR NO KEY UPDATE OF a SKIP LOCKED)
UPDATE dispatcher.accounts a SET stored_bytes = least(l.bytes, 9223372036854775807) FROM locked l WHERE a.id = l.id
""")


def count_stored(engine: Engine, now: datetime, until: float) -> dict[str, int]:
    """Counts what came since the last time; after `until` (monotonic) the rest is left to the next run. Nothing if
    another process is at it."""
    last, counted = first_id_at(now - LATE), 0
    while monotonic() < until:
        with engine.begin() as connection:
            row = connection.execute(_LOCK).one_or_none()
            if row is None:
                break
            found = connection.execute(COUNT, {"reached": row.stored_to or UUID(int=0), "until": last}).one()
            if found.events:
                connection.execute(_REACHED, {"reached": found.reached})
        counted += found.events
        if found.events < PIECE:
            break
    with engine.begin() as connection:
        connection.execute(_FORGET)
    with engine.begin() as connection:
        connection.execute(_SETTLE)
    return {"events_counted": counted}
