"""Upkeep, every minute: ends deliveries that cannot be attempted any more, makes partitions, removes what is too old,
and fills in what older versions leave out."""
# ruff: noqa: S608 - composed of constants

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.orm import Session

from dispatcher.db.arrays import array
from dispatcher.db.outages import is_outage
from dispatcher.db.partition_rounds import create_partitions
from dispatcher.db.retention.kinds import Kept
from dispatcher.db.retention.rounds import retain
from dispatcher.encryption.vault import Vault
from dispatcher.ids import first_id_at
from dispatcher.producer import Clock
from dispatcher.states import Reason, State
from workers.maintenance.account_deletion import remove_accounts
from workers.maintenance.binding import bind_secrets
from workers.maintenance.older_versions import fill_deliveries, fill_webhooks
from workers.maintenance.pulses import count_pulses
from workers.maintenance.stored_events import count_stored
from workers.maintenance.unreadable import count_unreadable
from workers.metrics.counts import Counts
from workers.notices.send import close_abandoned

log = structlog.get_logger("dispatcher.upkeep")

PIECE = 1_000  # rows that one transaction changes
LOOKED_UP = 20_000  # rows that one look finds
LONGEST = 500  # of a webhook, of first attempts and of retries: those that have waited longest
# A run ends well before the next one begins: two at once would leave the sweep no process.
END_SECONDS, FORGET_SECONDS, REMOVE_SECONDS, FILL_SECONDS, RETAIN_SECONDS = 20, 5, 12, 3, 5
COUNT_SECONDS, PULSE_SECONDS, BIND_SECONDS = 3, 4, 2
RUN_SECONDS = 50  # what is left of them is for retention

_IS_UNCLAIMABLE = (
    "(w.deleted_at IS NOT NULL OR (a.suspended_at IS NULL"
    " AND (NOT w.enabled OR w.quarantined_at IS NOT NULL OR g.opened_at IS NOT NULL)))"
)


def _scan(state: State) -> str:
    """Webhooks that have deliveries in this state, found by skipping along an index."""
    return f"""{state}(webhook_id) AS (
  (SELECT webhook_id FROM dispatcher.deliveries WHERE state = '{state}' ORDER BY webhook_id LIMIT 1)
  UNION ALL
  SELECT x.webhook_id FROM {state} h, LATERAL (
    SELECT d.webhook_id FROM dispatcher.deliveries d
    WHERE d.state = '{state}' AND d.webhook_id > h.webhook_id ORDER BY d.webhook_id LIMIT 1) x)"""


def _in_order(what: str, rest: str) -> str:
    """Of the ready deliveries of a webhook, first attempts or retries, in the order of their index."""
    return f"""SELECT {what} FROM dispatcher.deliveries d
    WHERE d.webhook_id = h.webhook_id AND d.state = '{State.READY}' AND d.is_retry = k.is_retry
    ORDER BY d.due_at {rest}"""


# What is over at webhooks that cannot be claimed from, and what waits for a retry at deleted ones. Nothing is locked: a
# look can read many deliveries whose time is not over yet. Of a webhook it reads those that have waited longest, for
# millions may wait for one that is disabled, and more only if the last of those is over: what ends before older ones is
# found after them.
_UNCLAIMABLE = text(f"""
WITH RECURSIVE {_scan(State.READY)}, {_scan(State.WAITING)}, unclaimable AS MATERIALIZED (
  SELECT w.id AS webhook_id, w.deleted_at
  FROM {State.READY} h
  JOIN dispatcher.webhooks w ON w.id = h.webhook_id
  JOIN dispatcher.accounts a ON a.id = w.account_id
  LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
  WHERE {_IS_UNCLAIMABLE})
SELECT d.id::text
FROM unclaimable h
CROSS JOIN (VALUES (false), (true)) k(is_retry)
CROSS JOIN LATERAL (
  ({_in_order("d.id, d.give_up_at", f"LIMIT {LONGEST}")})
  UNION ALL
  SELECT * FROM ({_in_order("d.id, d.give_up_at", f"OFFSET {LONGEST} LIMIT {LOOKED_UP}")}) more
  WHERE h.deleted_at IS NOT NULL OR ({_in_order("d.give_up_at", f"OFFSET {LONGEST - 1} LIMIT 1")}) <= now()) d
WHERE h.deleted_at IS NOT NULL OR d.give_up_at <= now()
UNION ALL
SELECT d.id::text
FROM {State.WAITING} h
JOIN dispatcher.webhooks w ON w.id = h.webhook_id
CROSS JOIN LATERAL (
  SELECT d.id FROM dispatcher.deliveries d WHERE d.webhook_id = h.webhook_id AND d.state = '{State.WAITING}'
  OFFSET 0) d
WHERE w.deleted_at IS NOT NULL
LIMIT {LOOKED_UP}
""")
# Along the index: what one webhook has, read in any other way and sorted, can be millions.
_IN_ORDER = text("SET LOCAL enable_bitmapscan = off")
# The piece is found by its ids alone, then changed by its rows' places: they are locked, so they stay there. So no plan
# reads anything else, whatever its statistics say.
END = text(f"""
WITH ended AS MATERIALIZED (
  SELECT d.tid
  FROM (SELECT ctid AS tid, webhook_id, state, give_up_at FROM dispatcher.deliveries
        WHERE id = ANY(CAST(:ids AS uuid[])) LIMIT {PIECE} FOR UPDATE SKIP LOCKED) d
  JOIN dispatcher.webhooks w ON w.id = d.webhook_id
  JOIN dispatcher.accounts a ON a.id = w.account_id
  LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
  WHERE d.state = '{State.READY}' AND (w.deleted_at IS NOT NULL OR d.give_up_at <= now()) AND {_IS_UNCLAIMABLE}
    OR d.state = '{State.WAITING}' AND w.deleted_at IS NOT NULL)
UPDATE dispatcher.deliveries d
SET state = '{State.DISCARDED}', finished_at = now(), reason = (
  SELECT CASE WHEN w.deleted_at IS NOT NULL THEN '{Reason.WEBHOOK_DELETED}'
              WHEN (SELECT e.expires_at FROM dispatcher.events e WHERE e.id = d.event_id) <= now()
                THEN '{Reason.EXPIRED}'
              WHEN w.enabled THEN '{Reason.EXHAUSTED}' ELSE '{Reason.WEBHOOK_DISABLED}' END
  FROM dispatcher.webhooks w WHERE w.id = d.webhook_id)
WHERE d.ctid = ANY(ARRAY(SELECT tid FROM ended))
RETURNING d.reason
""")

_CLOSE_ALL_CIRCUITS = text("DELETE FROM dispatcher.circuit_breakers")

FORGET_KEYS = text("""
DELETE FROM dispatcher.idempotency_keys WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatcher.idempotency_keys WHERE expires_at <= now()
  ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED))
""")
# The audit log says who had one.
FORGET_SESSIONS = text("""
DELETE FROM dispatcher.sessions WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatcher.sessions WHERE expires_at <= now()
  ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED))
""")
# Each is kept for a day: whoever follows it late is led back, and those that an account makes in a day are counted.
FORGET_LINKS = text("""
DELETE FROM dispatcher.portal_links WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatcher.portal_links WHERE id < :a_day_ago ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED))
""")


def upkeep(
    engine: Engine, vault: Vault, clock: Clock, counts: Counts, kept: Kept, *, circuit_breakers: bool
) -> dict[str, int]:
    """Runs once, in small transactions and for a bounded time. Returns counts of what it did; `to_end` deliveries (of
    those found so far) and `partitions_left` wait for the next run; what is quarantined or of a newer format is counted
    as it is. `circuit_breakers`: whether this installation has any. A part that fails does not keep the others from
    running; its error is raised after them. Any part can be the first: one that kills the process does not keep the
    others from running for ever, either. If the database is unavailable, that is raised at once."""
    began, done, errors = monotonic(), dict[str, int](), []
    parts: tuple[Callable[[], dict[str, int]], ...] = (
        lambda: _end_unclaimable(engine, counts, monotonic() + END_SECONDS, circuit_breakers=circuit_breakers),
        lambda: {"keys_forgotten": _forget_keys(engine)},
        lambda: {"sessions_forgotten": _forget_sessions(engine)},
        lambda: {"links_forgotten": _forget_links(engine, clock)},
        lambda: remove_accounts(engine, monotonic() + REMOVE_SECONDS),
        lambda: {"notices_abandoned": _close_notices(engine)},
        lambda: count_unreadable(engine),
        lambda: _make_partitions(engine, clock),
        lambda: retain(engine, kept, clock(), monotonic() + RETAIN_SECONDS),
        lambda: _fill_in(engine, vault, monotonic() + FILL_SECONDS),
        lambda: count_stored(engine, clock(), monotonic() + COUNT_SECONDS),
        lambda: count_pulses(engine, clock(), monotonic() + PULSE_SECONDS),
        lambda: bind_secrets(engine, vault, monotonic() + BIND_SECONDS),
    )
    for part in random.sample(parts, len(parts)):
        try:
            done |= part()
        except Exception as error:
            if is_outage(error):
                raise
            log.error("a part of upkeep failed", error=type(error).__name__)
            errors.append(error)
    if errors:
        raise errors[0]
    if done["kinds_left"]:
        more = retain(engine, kept, clock(), began + RUN_SECONDS)
        done |= {name: count + done[name] * name.endswith("_removed") for name, count in more.items()}
    return done


def unclaimable(connection: Connection | Session) -> Sequence[str]:
    """The ids of deliveries that nobody can attempt any more, as one look finds them."""
    connection.execute(_IN_ORDER)
    return connection.scalars(_UNCLAIMABLE).all()


def _make_partitions(engine: Engine, clock: Clock) -> dict[str, int]:
    partitions = create_partitions(engine, clock())
    return {"partitions": partitions.made, "partitions_left": partitions.left}


def _fill_in(engine: Engine, vault: Vault, until: float) -> dict[str, int]:
    return {
        "webhooks_filled": fill_webhooks(engine, vault, until),
        "deliveries_filled": fill_deliveries(engine, until),
    }


def _close_notices(engine: Engine) -> int:
    with engine.begin() as connection:
        return close_abandoned(connection)


def _end_unclaimable(engine: Engine, counts: Counts, until: float, *, circuit_breakers: bool) -> dict[str, int]:
    """Ends what nobody can attempt any more; after `until` (monotonic) the rest is left to the next round."""
    if not circuit_breakers:  # switched off: circuits that were open before must not end deliveries
        with engine.begin() as connection:
            connection.execute(_CLOSE_ALL_CIRCUITS)
    ended = 0
    while True:
        with engine.connect() as connection:
            ids = unclaimable(connection)
        before = ended
        for first in range(0, len(ids), PIECE):
            if monotonic() >= until:
                return {"ended": ended, "to_end": len(ids) - first}
            with engine.begin() as connection:
                reasons = connection.scalars(END, {"ids": array(ids[first : first + PIECE])}).all()
            counts.discarded(reasons)
            ended += len(reasons)
        # What others hold at this moment is not waited for.
        if len(ids) < LOOKED_UP or ended == before:
            return {"ended": ended, "to_end": len(ids) - (ended - before)}


def _forget_keys(engine: Engine) -> int:
    return _forget(engine, FORGET_KEYS)


def _forget_sessions(engine: Engine) -> int:
    return _forget(engine, FORGET_SESSIONS)


def _forget_links(engine: Engine, clock: Clock) -> int:
    return _forget(engine, FORGET_LINKS, a_day_ago=first_id_at(clock() - timedelta(days=1)))


def _forget(engine: Engine, statement: TextClause, **parameters: UUID) -> int:
    forgotten, until = 0, monotonic() + FORGET_SECONDS
    while monotonic() < until:
        with engine.begin() as connection:
            count = connection.execute(statement, parameters).rowcount
        forgotten += count
        if count < PIECE:
            break
    return forgotten
