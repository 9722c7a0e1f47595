"""Counts what the events of each account take, and what came of them: a step of upkeep, so it is a minute or two late.
Enqueueing and delivering write nothing for it.

Each event and each request is counted once, in the order of ids, into the row of its account and week. Requests are
counted for themselves, because a delivery can have hundreds, and their answers are the receiver's choice. What
retention removes goes with its week. It is an estimate: what rows take beside their texts is not measured. What is
erased, and the answers, which go first, count until their week goes.
"""
# ruff: noqa: S608 - composed of constants

from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from psycopg2.errors import LockNotAvailable
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import OperationalError

from dispatcher.ids import first_id_at

PIECE = 10_000  # events or requests that one transaction counts
SETTLED = 1_000  # accounts that one transaction changes
WAITED_FOR = 10  # accounts in one run whose rows others have locked: their customers may do that all the time
LOCK_TIMEOUT = "900ms"  # for each of them; those who come later queue up behind
# Ids are made before the commit: later ones than this may still come before others.
LATE = timedelta(minutes=1)
LATE_REQUESTS = timedelta(minutes=2)  # made before the request is sent, which may take a minute with its batch

EVENT_BYTES = 300  # of an event beside its message, app and subject, which is in an index, too
DELIVERY_BYTES = 400  # of a delivery, and its index entries
REQUEST_BYTES = 300  # of a request beside its texts, and its index entry
ATTEMPT_BYTES = 300  # of an attempt, and its index entries

_MONDAY_MS, _WEEK_MS = 4 * 24 * 60 * 60 * 1000, 7 * 24 * 60 * 60 * 1000  # from 1970-01-05 on


def _week(identifier: str) -> str:
    """The week of an id, as partitions have it."""
    milliseconds = f"CAST(CAST('x' || substr(encode(uuid_send({identifier}), 'hex'), 1, 12) AS bit(48)) AS bigint)"
    return f"CAST(floor(({milliseconds} - {_MONDAY_MS}) / {_WEEK_MS}.0) AS integer)"


def _count(piece: str, rows: str, events: int) -> TextClause:
    """Adds what `rows` say of a piece, each of which is so many `events`."""
    return text(f"""
WITH piece AS MATERIALIZED ({piece}),
added AS (
  INSERT INTO dispatcher.stored_events AS s (account_id, week, events, bytes)
  SELECT account_id, {_week("id")} AS week, count(*) * {events}, sum(size) FROM ({rows}) r
  GROUP BY account_id, week ORDER BY account_id, week
  ON CONFLICT (account_id, week) DO UPDATE SET events = s.events + excluded.events, bytes = s.bytes + excluded.bytes)
SELECT (SELECT count(*) FROM piece) AS number, (SELECT id FROM piece ORDER BY id DESC LIMIT 1) AS reached
""")


COUNT_EVENTS = _count(
    f"""
  SELECT id, account_id, octet_length(data) + {EVENT_BYTES}
    + coalesce(octet_length(app), 0) + 2 * coalesce(octet_length(subject), 0)
    + CAST(greatest(0, delivery_count) AS bigint) * {DELIVERY_BYTES} AS size
  FROM dispatcher.events WHERE id > :reached AND id < :until ORDER BY id LIMIT {PIECE}""",
    "SELECT * FROM piece",
    events=1,
)
# The length of a text is known without reading it.
COUNT_REQUESTS = _count(
    f"""
  SELECT id, webhook_id, {REQUEST_BYTES} + CAST(greatest(1, messages) AS bigint) * {ATTEMPT_BYTES}
    + octet_length(url_masked) + octet_length(headers_masked)
    + coalesce(octet_length(answer_headers), 0) + coalesce(octet_length(answer_excerpt), 0) AS size
  FROM dispatcher.requests WHERE id > :reached AND id < :until ORDER BY id LIMIT {PIECE}""",
    "SELECT p.id, w.account_id, p.size FROM piece p JOIN dispatcher.webhooks w ON w.id = p.webhook_id",
    events=0,
)
_FORGET = text(f"""
DELETE FROM dispatcher.stored_events
WHERE week < (SELECT coalesce(
  (SELECT {_week("id")} FROM (SELECT id FROM dispatcher.events ORDER BY id LIMIT 1) first), 2147483647))
""")
# Returns some of the accounts that somebody has locked.
_SETTLE = text(f"""
WITH differ AS MATERIALIZED (
  SELECT a.id, coalesce(s.bytes, 0) AS bytes
  FROM dispatcher.accounts a
  LEFT JOIN (SELECT account_id, sum(bytes) AS bytes FROM dispatcher.stored_events GROUP BY account_id) s
    ON s.account_id = a.id
  WHERE coalesce(a.stored_bytes, 0) <> coalesce(s.bytes, 0) LIMIT {SETTLED}),
locked AS MATERIALIZED (
  SELECT a.id, d.bytes FROM dispatcher.accounts a JOIN differ d USING (id) FOR NO KEY UPDATE OF a SKIP LOCKED),
settled AS (
  UPDATE dispatcher.accounts a SET stored_bytes = least(l.bytes, 9223372036854775807) FROM locked l WHERE a.id = l.id)
SELECT id FROM differ WHERE id NOT IN (SELECT id FROM locked) ORDER BY random() LIMIT {WAITED_FOR}
""")
_SETTLE_ONE = text("""
UPDATE dispatcher.accounts SET stored_bytes = least(9223372036854775807, (
  SELECT coalesce(sum(bytes), 0) FROM dispatcher.stored_events WHERE account_id = :account))
WHERE id = :account
""")


def count_stored(engine: Engine, now: datetime, until: float) -> dict[str, int]:
    """Counts what came since the last time; after `until` (monotonic) the rest is left to the next run. Nothing if
    another process is at it."""
    events = _count_to(engine, "stored_to", COUNT_EVENTS, first_id_at(now - LATE), until)
    requests = _count_to(engine, "requests_stored_to", COUNT_REQUESTS, first_id_at(now - LATE_REQUESTS), until)
    with engine.begin() as connection:
        connection.execute(_FORGET)
    with engine.begin() as connection:
        locked = connection.scalars(_SETTLE).all()
    for account in locked:
        _settle(engine, account)
    return {"events_counted": events, "requests_counted": requests}


def _settle(engine: Engine, account: UUID) -> None:
    """Settles an account that others lock, when it is its turn. One that they do not let go is left to the next run."""
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(_SETTLE_ONE, {"account": account})
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise


def _count_to(engine: Engine, column: str, count: TextClause, last: UUID, until: float) -> int:
    """Counts pieces up to `last`, from where the installation's `column` says that counting has come."""
    counted, number = 0, PIECE
    while number == PIECE and monotonic() < until:
        with engine.begin() as connection:
            lock = f"SELECT {column} AS reached FROM dispatcher.installation FOR NO KEY UPDATE SKIP LOCKED"
            row = connection.execute(text(lock)).one_or_none()
            if row is None:
                break
            number, reached = connection.execute(count, {"reached": row.reached or UUID(int=0), "until": last}).one()
            if number:
                move = f"UPDATE dispatcher.installation SET {column} = :reached WHERE true"
                connection.execute(text(move), {"reached": reached})
        counted += number
    return counted
