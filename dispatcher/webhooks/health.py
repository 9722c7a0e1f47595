"""Webhook health: the results of its last deliveries, found at a cost that does not grow with its traffic."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.db.models import CircuitBreaker, Webhook
from dispatcher.ids import first_id_at
from dispatcher.states import State
from dispatcher.webhooks.registered import Registered

COUNTED = 10_000  # deliveries at most
LOOKED_AT = 50  # deliveries whose attempts are searched for the last answer
SPAN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The outcome of the webhook's last request: a status, or a failure instead."""

    request_id: UUID
    at: datetime
    status: int | None
    failure: str | None
    failure_detail: str | None
    duration: timedelta
    verdict: str | None


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that no worker has taken yet."""

    delivery_id: UUID
    due_at: datetime


@dataclass(frozen=True, slots=True)
class OpenDeliveries:
    """Deliveries that are ready or wait for a retry, however old; if not `complete`, there are more than `count`. Of a
    deleted webhook they are what is left to end."""

    count: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Health:
    """`counts` are of the deliveries since `since`; if not `complete`, of the newest 10,000 of them. `last_answer` is
    looked for among the newest and those that wait for another attempt. `oldest_due` is the delivery that has been due
    longest: behind an open circuit, a rate limit, a backlog, or because the webhook is disabled."""

    circuit_breaker: CircuitBreaker | None  # None: its last request did not fail
    since: datetime
    counts: Mapping[State, int]
    complete: bool
    last_answer: LastAnswer | None
    oldest_due: Due | None
    open: OpenDeliveries


def health_of(session: Session, webhook: Webhook, *, read: Registered | None = None) -> Health:
    """The health of a webhook at this moment. `read`: it, as `Webhooks.read` has just returned it, so that its circuit
    breaker need not be looked for."""
    now = read.read_at if read is not None and read.read_at is not None else session.execute(_NOW).scalar_one()
    since = now - SPAN
    given = {"webhook": webhook.id, "first": first_id_at(since), "most": COUNTED, "newest": LOOKED_AT}
    found = session.execute(_HEALTH, given).one()
    counts: dict[State, int] = dict.fromkeys(State, 0)
    for state, beyond, deliveries in zip(found.states or (), found.beyond or (), found.deliveries or (), strict=True):
        if not beyond:
            counts[State(state)] = deliveries
    return Health(
        circuit_breaker=read.circuit_breaker if read is not None else session.get(CircuitBreaker, webhook.id),
        since=since,
        counts=counts,
        complete=not any(found.beyond or ()),
        last_answer=LastAnswer(*found[-7:]) if found.request_id is not None else None,
        oldest_due=Due(found.due_id, found.due_at) if found.due_id is not None else None,
        open=_up_to_most(found.open),
    )


def open_deliveries(session: Session, webhook: UUID) -> OpenDeliveries:
    """Counts a webhook's open deliveries, up to COUNTED."""
    found: int = session.execute(_OPEN, {"webhook": webhook, "most": COUNTED}).scalar_one()
    return _up_to_most(found)


def _up_to_most(found: int) -> OpenDeliveries:
    return OpenDeliveries(min(found, COUNTED), complete=found <= COUNTED)


def circuit_state(breaker: CircuitBreaker | None) -> Literal["open", "closed"]:
    """The state of a webhook's circuit."""
    return "open" if breaker is not None and breaker.opened_at is not None else "closed"


def shown_circuit(breaker: CircuitBreaker | None) -> dict[str, Any]:
    """A webhook's circuit as the API and the command line show it."""
    return {
        "state": circuit_state(breaker),
        "failures_in_a_row": breaker.failures if breaker else 0,
        "failing_since": breaker.failing_since if breaker else None,
        "opened_at": breaker.opened_at if breaker else None,
        "next_trial_at": breaker.trial_at if breaker else None,
    }


# The newest deliveries of a webhook. They are compared and ordered in pairs, for which there is an index: by id alone
# the planner might walk through those of all webhooks.
_OF_WEBHOOK = """
FROM dispatcher.deliveries
WHERE (webhook_id, id) >= (:webhook, {first}) AND (webhook_id, id) <= (:webhook, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
ORDER BY webhook_id DESC, id DESC"""

_COUNTS = f"""
SELECT state, place > :most AS beyond, count(*) AS deliveries
FROM (
  SELECT state, row_number() OVER () AS place
  FROM (SELECT state {_OF_WEBHOOK.format(first=":first")} LIMIT :most + 1) newest) d
GROUP BY state, beyond"""

# Requests have no index by webhook, because each request would pay for it. What was attempted last is among the newest
# deliveries or, if many wait behind an open circuit, among those of them that have failed before.
# A row may hold a duration that leads out of what PostgreSQL has.
_ENDED_AT = "r.started_at + least(greatest(r.duration, interval '0'), interval '1 day')"
_LAST_ANSWER = f"""
WITH tried AS (
  (SELECT id
   FROM (SELECT id, attempt_count {_OF_WEBHOOK.format(first="'00000000-0000-0000-0000-000000000000'")} LIMIT :most) d
   WHERE attempt_count > 0 LIMIT :newest)
  UNION
  (SELECT id FROM dispatcher.deliveries WHERE state = '{State.READY}' AND webhook_id = :webhook AND is_retry
   ORDER BY due_at DESC LIMIT :newest))
SELECT r.id AS request_id, {_ENDED_AT} AS at, r.status, r.failure, r.failure_detail, r.duration, a.verdict
FROM tried t CROSS JOIN LATERAL (
  SELECT request_id, verdict FROM dispatcher.attempts a WHERE a.delivery_id = t.id AND request_id IS NOT NULL
  ORDER BY number DESC LIMIT 1) a
JOIN dispatcher.requests r ON r.id = a.request_id
ORDER BY {_ENDED_AT} DESC LIMIT 1"""

_OLDEST_DUE = f"""
SELECT id, due_at FROM (
  (SELECT id, due_at FROM dispatcher.deliveries
   WHERE state = '{State.READY}' AND webhook_id = :webhook AND NOT is_retry AND due_at <= now() ORDER BY due_at LIMIT 1)
  UNION ALL
  (SELECT id, due_at FROM dispatcher.deliveries
   WHERE state = '{State.READY}' AND webhook_id = :webhook AND is_retry AND due_at <= now() ORDER BY due_at LIMIT 1)) d
ORDER BY due_at LIMIT 1"""

# In the order of an index each, so that no plan reads the deliveries of others.
_COUNT_OPEN = f"""
SELECT count(*) FROM (
  (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.READY}' AND webhook_id = :webhook
   ORDER BY is_retry, due_at LIMIT :most + 1)
  UNION ALL
  (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.WAITING}' AND webhook_id = :webhook
   ORDER BY due_at LIMIT :most + 1)) d"""

_OPEN = text(_COUNT_OPEN)
# In one statement: each of its parts is bounded, and a page shows more than this.
_HEALTH = text(f"""
SELECT ({_COUNT_OPEN}) AS open, counted.*, due.id AS due_id, due.due_at, answer.*
FROM (
  SELECT array_agg(state) AS states, array_agg(beyond) AS beyond, array_agg(deliveries) AS deliveries
  FROM ({_COUNTS}) each) counted
LEFT JOIN ({_OLDEST_DUE}) due ON true
LEFT JOIN ({_LAST_ANSWER}) answer ON true
""")
_NOW = text("SELECT now()")
