"""The sweep: the periodic look for what no wake covered. Promotes due deliveries, frees expired claims, sends wakes.

Its interval is the real bound on lateness: a broker that lost everything costs five seconds. Whoever has its lease
sweeps: the task of a maintenance worker, or a loop that has nothing else to do. The lease ends when the next sweep is
due, so there is one in each interval, however many could do it.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from dispatcher.db.apart import write_apart
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.heartbeat import MAINTAINS, Asked, Heartbeat
from dispatcher.db.leases import TAKEN
from dispatcher.deliveries.deaths import SUSPECT
from dispatcher.states import State
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SUSPECTS, SWEEP, UPKEEP, Waker
from dispatcher.webhooks.contract import Verdict
from schedules import beat
from schedules.timing import Timing
from workers.recovery import count_deaths
from workers.results.decide import AfterDeath, Discard, decide_unknown
from workers.results.record import Result, record

log = structlog.get_logger("dispatcher.sweep")

LEASE, UPKEEP_LEASE = "sweep", "upkeep"
LEASE_SPAN = timedelta(seconds=15)  # longer than any run takes; a holder that dies delays the next one for so long
MISSED = 5  # intervals without upkeep, after which the sweep calls for it


class Extent(NamedTuple):
    """How much one run does: so many rows in a transaction, and no other piece after so many seconds."""

    piece: int
    promote_seconds: float
    free_seconds: float


# A run of the task ends before the next one begins, so that redeliveries, notices and upkeep have their turn between.
WHOLE = Extent(1_000, 3, 1)
# One in a loop: answers wait for it.
SMALL = Extent(100, 0, 0)

# Of each account that has some due the same number, its oldest first: customers decide how many of theirs are due at
# once. A piece is shared by as many accounts as it has rows at most, those whose first one has waited longest.
# By the account and the time as pairs, which of all indexes that of both alone can serve.
# There may be more if something was taken: what others hold locked is not asked for again at once.
# A delivery that an older version stored gets its account's number here: claims find ready ones by it.
PROMOTE = text(f"""
WITH RECURSIVE accounts AS (
  (SELECT account_no, due_at FROM dispatcher.deliveries WHERE state = '{State.WAITING}'
   ORDER BY account_no, due_at LIMIT 1)
  UNION ALL
  SELECT next.* FROM accounts a CROSS JOIN LATERAL (
    SELECT d.account_no, d.due_at FROM dispatcher.deliveries d
    WHERE d.state = '{State.WAITING}' AND d.account_no > a.account_no ORDER BY d.account_no, d.due_at LIMIT 1) next),
due AS MATERIALIZED (
  SELECT account_no, greatest(1, :piece / count(*) OVER ()) AS share, count(*) OVER () > :piece AS is_crowd
  FROM accounts WHERE due_at <= now() ORDER BY due_at LIMIT :piece),
chosen AS MATERIALIZED (
  SELECT x.id, due.account_no, due.share FROM due CROSS JOIN LATERAL (
    SELECT id FROM dispatcher.deliveries w
    WHERE state = '{State.WAITING}' AND (w.account_no, w.due_at) >= (due.account_no, '-infinity')
      AND (w.account_no, w.due_at) <= (due.account_no, now())
    ORDER BY w.account_no, w.due_at LIMIT due.share FOR UPDATE SKIP LOCKED) x),
promoted AS (
  UPDATE dispatcher.deliveries d SET state = '{State.READY}', account_no = CASE d.account_no
    WHEN 0 THEN coalesce((SELECT a.number FROM dispatcher.webhooks w JOIN dispatcher.accounts a ON a.id = w.account_id
                          WHERE w.id = d.webhook_id), 0)
    ELSE d.account_no END
  WHERE id = ANY(ARRAY(SELECT id FROM chosen)))
SELECT CAST(coalesce(sum(number), 0) AS integer) AS promoted,
  coalesce(bool_or(number >= share OR (SELECT bool_or(is_crowd) FROM due)), false) AS is_more
FROM (SELECT share, count(*) AS number FROM chosen GROUP BY account_no, share) c
""")

# That index alone has this order. Statistics of a time when nothing waited make others with a sort seem as cheap, which
# then read all that waits for each account.
_IN_ORDER = text("SET LOCAL enable_sort = off")

_EXPIRED_CLAIMS = text(f"""
SELECT d.id, d.event_id, d.webhook_id, d.attempt_count, d.schedule_step, d.unknown_in_a_row, d.deaths, d.claimed_by,
       coalesce(w.contract ->> 'schedule', 'default') AS schedule
FROM dispatcher.deliveries d JOIN dispatcher.webhooks w ON w.id = d.webhook_id
WHERE d.state = '{State.CLAIMED}' AND d.claimed_until <= now()
ORDER BY d.claimed_until LIMIT :piece FOR UPDATE OF d SKIP LOCKED
""")

# A claim that is nobody's, or whose end no claim can have, ends now.
_ODD_CLAIMS = text(f"""
UPDATE dispatcher.deliveries
SET claimed_until = now(), claimed_by = coalesce(claimed_by, '{UUID(int=0)}')
WHERE state = '{State.CLAIMED}' AND id = ANY(ARRAY(
  SELECT id FROM dispatcher.deliveries
  WHERE state = '{State.CLAIMED}' AND (claimed_until IS NULL OR claimed_until > now() + interval '1 day'
    OR claimed_until <= now() AND claimed_by IS NULL)
  LIMIT :piece FOR UPDATE SKIP LOCKED))
""")

_LATER = text("UPDATE dispatcher.deliveries SET claimed_until = now() + interval '5 minutes' WHERE id = :id")

_DUE = text(f"""
SELECT
  EXISTS (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.READY}' AND due_at <= now()) AS ready,
  EXISTS (SELECT 1 FROM dispatcher.deliveries
          WHERE state = '{State.READY}' AND deaths >= {SUSPECT} AND due_at <= now()) AS suspects,
  EXISTS (SELECT 1 FROM dispatcher.notices WHERE due_at <= now()) AS notices,
  EXISTS (SELECT 1 FROM dispatcher.redeliveries WHERE finished_at IS NULL AND cancelled_at IS NULL) AS redeliveries
""")
_TAKE = text(f"WITH {TAKEN} SELECT EXISTS (SELECT 1 FROM taken)")
# Those that were last seen long ago, or in the future.
_FORGET = text("""
DELETE FROM dispatcher.processes WHERE id = ANY(ARRAY(
  SELECT id FROM dispatcher.processes
  WHERE seen_at NOT BETWEEN now() - interval '1 hour' AND now() + interval '1 hour' LIMIT 1000
  FOR UPDATE SKIP LOCKED))
""")
_TASKS = {"ready": DELIVER, "suspects": SUSPECTS, "notices": NOTICES, "redeliveries": REDELIVER}


class Swept(NamedTuple):
    """What a run did, and whether nothing was left to do."""

    promoted: int
    freed: int
    is_all: bool


def sweep_in_turn(
    engine: Engine, waker: Waker, timing: Timing, clock: DatabaseClock, heartbeat: Heartbeat
) -> dict[str, int]:
    """Sweeps, unless somebody else does or has just done. What is left then, or comes meanwhile, is for the next run,
    for which it sends a delayed wake. Returns how many deliveries it promoted and how many claims it freed; nothing if
    it did not sweep."""
    # Delayed wakes come between two messages of beat.
    asked = Asked(LEASE, LEASE_SPAN, late=timedelta(seconds=-beat.SWEEP.seconds(timing) / 2))
    beaten = heartbeat.beat(engine, MAINTAINS, "sweep", asked, clock=clock)
    if not beaten.has_lease:
        _call_in(beaten.ends_in, waker, clock)
        return {}
    swept = sweep_with_lease(engine, waker, timing, heartbeat, WHOLE)
    if not swept.is_all:
        _call_in(0, waker, clock)
    return {"promoted": swept.promoted, "freed": swept.freed}


def sweep_with_lease(engine: Engine, waker: Waker, timing: Timing, heartbeat: Heartbeat, extent: Extent) -> Swept:
    """Sweeps for a process that has the lease, and lets that end when the next sweep is due: at once if something was
    left."""
    due_at, is_all = monotonic() + beat.SWEEP.seconds(timing), True
    try:
        swept = sweep(engine, waker, timing, heartbeat.id, extent)
        is_all = swept.is_all
    finally:
        left = max(0.0, due_at - monotonic()) if is_all else 0.0
        heartbeat.set_end(engine, LEASE, timedelta(seconds=left))
    return swept


def _call_in(seconds: float, waker: Waker, clock: DatabaseClock) -> None:
    now = clock.timestamp()
    second = int(now + seconds) + 1
    waker.wake_later(SWEEP, second, second - now)


def sweep(engine: Engine, waker: Waker, timing: Timing, me: UUID, extent: Extent) -> Swept:
    """Sweeps once, in small transactions and for a bounded time. `me` is this process's id."""

    def free(connection: Connection) -> tuple[int, bool]:
        freed = _free_expired_claims(connection, timing, extent.piece)
        return freed, freed == extent.piece

    def wake() -> None:
        waker.wake(DELIVER)

    promoting = partial(promote, piece=extent.piece)
    promoted, all_promoted = _in_pieces(engine, promoting, monotonic() + extent.promote_seconds, wake)
    _wake_what_is_due(engine, waker)  # before claims are freed: wakes must not depend on that
    freed, all_freed = _in_pieces(engine, free, monotonic() + extent.free_seconds, wake)
    _look_after_processes(engine, waker, timing, me)
    return Swept(promoted, freed, all_promoted and all_freed)


def promote(connection: Connection, piece: int) -> tuple[int, bool]:
    """Makes so many retries ready that are due. Returns how many, and whether more may be."""
    connection.execute(_IN_ORDER)
    found = connection.execute(PROMOTE, {"piece": piece}).one()
    return found.promoted, found.is_more


def may_keep_up(engine: Engine, timing: Timing, me: UUID) -> bool:
    """Whether upkeep may begin: no run began within the last half of its interval. (Messages pile up while nobody takes
    them.) If it begins, the sweep calls for it again only when it has not for some intervals."""
    span = _upkeep_span(timing)
    late = timedelta(seconds=beat.UPKEEP.seconds(timing) / 2) - span
    asked = {"lease": UPKEEP_LEASE, "me": me, "span": span, "late": late, "again": False}
    for _ in range(2):  # the first one may only make the lease
        with engine.begin() as connection:
            if connection.scalar(_TAKE, asked):
                return True
    return False


def _upkeep_span(timing: Timing) -> timedelta:
    return timedelta(seconds=MISSED * beat.UPKEEP.seconds(timing))


def _wake_what_is_due(engine: Engine, waker: Waker) -> None:
    with engine.connect() as connection:
        due = connection.execute(_DUE).one()._asdict()
    for name, task in _TASKS.items():
        if due[name]:
            waker.wake(task)


def _look_after_processes(engine: Engine, waker: Waker, timing: Timing, me: UUID) -> None:
    """Calls for upkeep if there was none for long, and forgets processes. Last: what has locked their tables must not
    keep deliveries."""
    with engine.begin() as connection:
        # For less than a run takes it, which would otherwise seem to have begun.
        span = _upkeep_span(timing) - timedelta(seconds=beat.UPKEEP.seconds(timing))
        asked = {"lease": UPKEEP_LEASE, "me": me, "span": span, "late": timedelta(0), "again": False}
        is_missing = connection.scalar(_TAKE, asked)
    if is_missing:
        waker.wake(UPKEEP)
    with engine.begin() as connection:
        connection.execute(_FORGET)


def _in_pieces(
    engine: Engine, piece: Callable[[Connection], tuple[int, bool]], until: float, after_each: Callable[[], object]
) -> tuple[int, bool]:
    """Takes pieces, each in a transaction, until there is nothing more to take or `until` (monotonic). A piece returns
    how many rows it took, and whether there may be more. Returns how many rows all of them took, and whether that was
    all. `after_each` follows at once: thousands more may come."""
    taken = 0
    while True:
        with engine.begin() as connection:
            count, is_more = piece(connection)
        taken += count
        if count:
            after_each()
        if not is_more or monotonic() >= until:
            return taken, not is_more


def _free_expired_claims(connection: Connection, timing: Timing, piece: int) -> int:
    """Frees claims whose worker died. Whether the receiver has the message is unknown; the attempt is recorded so."""
    connection.execute(_ODD_CLAIMS, {"piece": piece})
    rows = connection.execute(_EXPIRED_CLAIMS, {"piece": piece}).all()
    write_apart(connection, rows, partial(_free, connection, timing), partial(_postpone, connection))
    return len(rows)


def _free(connection: Connection, timing: Timing, rows: Sequence[Any]) -> None:
    found = [(row, _after(row, timing)) for row in rows]
    results = [
        Result(
            delivery_id=str(row.id),
            number=row.attempt_count,
            step=row.schedule_step,
            owner=str(row.claimed_by),
            decision=after.decision,
            verdict=Verdict.TEMPORARY,
            outcome_unknown=True,
        )
        for row, after in found
    ]
    record(connection, results)
    count_deaths(connection, {str(row.id): after.deaths for row, after in found if after.deaths != row.deaths})
    for row, after in found:
        log.warning(
            "claim expired, outcome unknown",
            attempt=row.attempt_count,
            becomes="discarded" if isinstance(after.decision, Discard) else "ready",
            **_ids(row),
        )


def _postpone(connection: Connection, row: Any, error: Exception) -> None:
    connection.execute(_LATER, {"id": row.id})
    log.error("an expired claim cannot be freed: tried again later", error=type(error).__name__, **_ids(row))


def _ids(row: Any) -> dict[str, str]:
    return {"delivery": str(row.id), "event_id": str(row.event_id), "webhook": str(row.webhook_id)}


def _after(row: Any, timing: Timing) -> AfterDeath:
    return decide_unknown(
        timing.schedule(row.schedule),
        step=row.schedule_step,
        unknown_in_a_row=row.unknown_in_a_row,
        deaths=row.deaths,
    )
