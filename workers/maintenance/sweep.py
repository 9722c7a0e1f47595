"""The sweep: the periodic look for what no wake covered. Promotes due deliveries, frees expired claims, sends wakes.

Its interval is the real bound on lateness: a broker that lost everything costs five seconds.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from dispatcher.db.apart import write_apart
from dispatcher.deliveries.deaths import SUSPECT
from dispatcher.producer import Clock
from dispatcher.states import State
from dispatcher.wake import DELIVER, NOTICES, SUSPECTS, SWEEP, Waker
from dispatcher.webhooks.contract import Verdict
from schedules.timing import Timing
from workers.recovery import count_deaths
from workers.results.decide import AfterDeath, Discard, decide_unknown
from workers.results.record import Result, record

log = structlog.get_logger("dispatcher.sweep")

PIECE = 1_000
# A run ends before the next one begins, so that redeliveries, notices and upkeep have their turn between two.
PROMOTE_SECONDS, FREE_SECONDS = 3, 1

# A delivery that an older version stored gets its account's number here: claims find ready ones by it.
PROMOTE = text(f"""
UPDATE dispatcher.deliveries d SET state = '{State.READY}', account_no = CASE d.account_no
  WHEN 0 THEN coalesce((SELECT a.number FROM dispatcher.webhooks w JOIN dispatcher.accounts a ON a.id = w.account_id
                        WHERE w.id = d.webhook_id), 0)
  ELSE d.account_no END
WHERE id = ANY(ARRAY(
  SELECT id FROM dispatcher.deliveries WHERE state = '{State.WAITING}' AND due_at <= now()
  ORDER BY due_at LIMIT 1000 FOR UPDATE SKIP LOCKED))
""")

_EXPIRED_CLAIMS = text(f"""
SELECT d.id, d.attempt_count, d.schedule_step, d.unknown_in_a_row, d.deaths, d.claimed_by,
       coalesce(w.contract ->> 'schedule', 'default') AS schedule
FROM dispatcher.deliveries d JOIN dispatcher.webhooks w ON w.id = d.webhook_id
WHERE d.state = '{State.CLAIMED}' AND d.claimed_until <= now()
ORDER BY d.claimed_until LIMIT 1000 FOR UPDATE OF d SKIP LOCKED
""")

# A claim that is nobody's, or whose end no claim can have, ends now.
_ODD_CLAIMS = text(f"""
UPDATE dispatcher.deliveries
SET claimed_until = now(), claimed_by = coalesce(claimed_by, '{UUID(int=0)}')
WHERE state = '{State.CLAIMED}' AND id = ANY(ARRAY(
  SELECT id FROM dispatcher.deliveries
  WHERE state = '{State.CLAIMED}' AND (claimed_until IS NULL OR claimed_until > now() + interval '1 day'
    OR claimed_until <= now() AND claimed_by IS NULL)
  LIMIT {PIECE} FOR UPDATE SKIP LOCKED))
""")

_LATER = text("UPDATE dispatcher.deliveries SET claimed_until = now() + interval '5 minutes' WHERE id = :id")

_ANYTHING_READY = text(
    f"SELECT EXISTS (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.READY}' AND due_at <= now())"
)
_ANY_SUSPECT = text(f"""
SELECT EXISTS (SELECT 1 FROM dispatcher.deliveries
               WHERE state = '{State.READY}' AND deaths >= {SUSPECT} AND due_at <= now())
""")
_ANY_MAIL_DUE = text("SELECT EXISTS (SELECT 1 FROM dispatcher.notices WHERE due_at <= now())")


def sweep(engine: Engine, waker: Waker, timing: Timing, clock: Clock) -> dict[str, int]:
    """Sweeps once, in small transactions and for a bounded time. What is left then it leaves to the next run, for which
    it sends a wake. Returns how many deliveries it promoted and how many claims it freed."""

    def promote(connection: Connection) -> int:
        return connection.execute(PROMOTE).rowcount

    def free(connection: Connection) -> int:
        return _free_expired_claims(connection, timing)

    def wake() -> None:
        waker.wake(DELIVER)

    promoted, all_promoted = _in_pieces(engine, promote, monotonic() + PROMOTE_SECONDS, after_each=wake)
    _wake_what_is_due(engine, waker)  # before claims are freed: wakes must not depend on that
    freed, all_freed = _in_pieces(engine, free, monotonic() + FREE_SECONDS, after_each=wake)
    if not (all_promoted and all_freed):
        now = clock().timestamp()
        waker.wake_later(SWEEP, int(now) + 1, int(now) + 1 - now)
    return {"promoted": promoted, "freed": freed}


def _wake_what_is_due(engine: Engine, waker: Waker) -> None:
    with engine.connect() as connection:
        if connection.scalar(_ANYTHING_READY):
            waker.wake(DELIVER)
        if connection.scalar(_ANY_SUSPECT):
            waker.wake(SUSPECTS)
        if connection.scalar(_ANY_MAIL_DUE):
            waker.wake(NOTICES)


def _in_pieces(
    engine: Engine,
    piece: Callable[[Connection], int],
    until: float,
    after_each: Callable[[], object] = lambda: None,
) -> tuple[int, bool]:
    """Takes pieces, each in a transaction, until there is nothing more to take or `until` (monotonic). Returns how many
    rows it took, and whether that was all. `after_each` follows at once: thousands more may come."""
    taken = 0
    while True:
        with engine.begin() as connection:
            count = piece(connection)
        taken += count
        if count:
            after_each()
        if count < PIECE or monotonic() >= until:
            return taken, count < PIECE


def _free_expired_claims(connection: Connection, timing: Timing) -> int:
    """Frees claims whose worker died. Whether the receiver has the message is unknown; the attempt is recorded so."""
    connection.execute(_ODD_CLAIMS)
    rows = connection.execute(_EXPIRED_CLAIMS).all()
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
    for result in results:
        ended = isinstance(result.decision, Discard)
        log.warning(
            "claim expired, outcome unknown",
            delivery=result.delivery_id,
            attempt=result.number,
            becomes="discarded" if ended else "ready",
        )


def _postpone(connection: Connection, row: Any, error: Exception) -> None:
    connection.execute(_LATER, {"id": row.id})
    log.error("an expired claim cannot be freed: tried again later", delivery=str(row.id), error=type(error).__name__)


def _after(row: Any, timing: Timing) -> AfterDeath:
    return decide_unknown(
        timing.schedule(row.schedule),
        step=row.schedule_step,
        unknown_in_a_row=row.unknown_in_a_row,
        deaths=row.deaths,
    )
