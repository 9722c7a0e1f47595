"""After a loop that died: what becomes of its claims, at once and by what its journal says.

What was not sent is ready again, as before the claim. What may have been sent is recorded as an attempt with an unknown
outcome. What may have killed the process is tried apart from others, and ends if it kills again. Without a journal,
because a whole node died, claims expire and the sweep frees them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text

from dispatcher.db.apart import write_apart
from dispatcher.db.arrays import array
from dispatcher.deliveries.deaths import SUSPECT
from dispatcher.states import State
from dispatcher.wake import DELIVER, SUSPECTS, Waker
from dispatcher.webhooks.contract import Verdict
from workers.journal import Journal, Left
from workers.results.circuit_breakers import release_trials
from workers.results.decide import AfterDeath, Discard, decide_after_death
from workers.results.record import Result, record

log = structlog.get_logger("dispatcher.recovery")

_CLAIMED = text(f"""
SELECT d.id::text, d.event_id::text, d.webhook_id::text, d.attempt_count, d.schedule_step, d.unknown_in_a_row, d.deaths
FROM dispatcher.deliveries d
WHERE d.state = '{State.CLAIMED}' AND d.claimed_by = CAST(:owner AS uuid) FOR UPDATE OF d SKIP LOCKED
""")  # noqa: S608 - composed of constants
_COUNT_DEATHS = text("""
UPDATE dispatcher.deliveries d SET deaths = r.deaths
FROM unnest(CAST(:ids AS uuid[]), CAST(:deaths AS smallint[])) r(id, deaths)
WHERE d.id = ANY(CAST(:ids AS uuid[])) AND d.id = r.id
""")


def recover(engine: Engine, journal: Journal, waker: Waker) -> None:
    """Recovers what a loop left in this journal, if it has not ended. Raises DBAPIError if the database is unavailable:
    the journal still says it then."""
    left = journal.left()
    if left is None:
        return
    found: dict[Any, AfterDeath] = {}
    with engine.begin() as connection:

        def write(rows: Sequence[Any]) -> None:
            after_each = {row: _after(row, left) for row in rows}
            record(connection, [_result(row, after, left.owner) for row, after in after_each.items()])
            count_deaths(
                connection, {row.id: after.deaths for row, after in after_each.items() if after.deaths != row.deaths}
            )
            release_trials(
                connection, sorted({row.webhook_id for row, after in after_each.items() if not after.unknown})
            )
            found.update(after_each)

        write_apart(connection, connection.execute(_CLAIMED, {"owner": left.owner}).all(), write, _leave)
    journal.end()
    _tell(found)
    if found:
        waker.wake_another(DELIVER)  # the flag may still say that the dead loop is awake
    if any(after.deaths >= SUSPECT for after in found.values()):
        waker.wake(SUSPECTS)


def count_deaths(connection: Connection, deaths: Mapping[str, int]) -> None:
    """Sets the count of deaths of deliveries, by their ids."""
    if deaths:
        connection.execute(_COUNT_DEATHS, {"ids": array([*deaths]), "deaths": array([*deaths.values()])})


def _leave(row: Any, error: Exception) -> None:
    log.error("a claim cannot be recovered: it expires", error=type(error).__name__, **_ids(row))


def _after(row: Any, left: Left) -> AfterDeath:
    attempt = row.id, row.attempt_count
    sent = attempt in left.sent
    return decide_after_death(
        unknown_in_a_row=row.unknown_in_a_row,
        deaths=row.deaths,
        sent=sent,
        handled=attempt in left.handled,
        # While claims are prepared, these are to blame; otherwise, if nothing is known, whatever is in flight. But what
        # is in flight keeps no loop from going on.
        suspected=not left.handled and (not sent if left.claiming else sent and not left.stuck),
    )


def _result(row: Any, after: AfterDeath, owner: str) -> Result:
    return Result(
        delivery_id=row.id,
        number=row.attempt_count,
        step=row.schedule_step,
        owner=owner,
        decision=after.decision,
        verdict=Verdict.TEMPORARY if after.unknown else None,
        counts=after.unknown,
        outcome_unknown=after.unknown,
    )


def _tell(found: Mapping[Any, AfterDeath]) -> None:
    unknown = sum(after.unknown for after in found.values())
    log.warning("recovered what a dead loop had claimed", given_back=len(found) - unknown, outcome_unknown=unknown)
    for row, after in found.items():
        if isinstance(after.decision, Discard):
            log.error("delivery ended: its handling kills workers", deaths=after.deaths, **_ids(row))
        elif after.deaths > row.deaths:
            log.warning("delivery was in work when its worker died", deaths=after.deaths, **_ids(row))


def _ids(row: Any) -> dict[str, str]:
    return {"delivery": row.id, "event_id": row.event_id, "webhook": row.webhook_id}
