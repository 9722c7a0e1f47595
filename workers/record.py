"""Writes down what came of attempts: many at once, in one transaction, and only where the claim is still mine.

A crash before it is written means one more attempt, never a lost delivery.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import Connection, text

from dispatcher.contracts import Verdict
from dispatcher.ids import new_id
from dispatcher.states import State
from workers.decide import Again, Decision, Delivered, Discard, Retry, Split
from workers.render import masked_headers
from workers.replies import Exchange, Failure, Reply

KEPT_HEADERS = 8 * 1024
KEPT_BODY = 4 * 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was made, for the record; several results can share one."""

    webhook_id: UUID
    url_masked: str
    exchange: Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one claimed delivery.

    `sent` is None for what was never sent, or of which nothing is known. `counts` is False where nothing was tried,
    so that the attempt's number is used again.
    """

    delivery_id: UUID
    number: int
    step: int
    owner: UUID  # of the claim
    decision: Decision
    verdict: Verdict | None = None
    sent: Sent | None = None
    counts: bool = True
    outcome_unknown: bool = False


_RECORD = text("""
WITH result AS (
  SELECT * FROM unnest(
    CAST(:id AS uuid[]), CAST(:number AS integer[]), CAST(:owner AS uuid[]), CAST(:state AS text[]),
    CAST(:reason AS text[]), CAST(:delay AS interval[]), CAST(:step AS integer[]), CAST(:unknown AS integer[]),
    CAST(:batch_limit AS smallint[]),
    CAST(:counts AS boolean[]), CAST(:verdict AS text[]), CAST(:outcome_unknown AS boolean[]),
    CAST(:attempt_id AS uuid[]), CAST(:request_id AS uuid[]))
  AS r(id, number, owner, state, reason, delay, step, unknown, batch_limit, counts, verdict, outcome_unknown,
       attempt_id, request_id)),
mine AS (
  UPDATE dispatcher.deliveries d
  SET state = r.state, reason = r.reason, due_at = coalesce(now() + r.delay, d.due_at),
      schedule_step = r.step, unknown_in_a_row = r.unknown, batch_limit = coalesce(r.batch_limit, d.batch_limit),
      passes_gate = d.passes_gate AND r.state = 'ready',
      attempt_count = d.attempt_count - (NOT r.counts)::integer,
      claimed_by = NULL, claimed_until = NULL,
      finished_at = CASE WHEN r.state IN ('delivered', 'discarded') THEN now() END
  FROM result r
  WHERE d.id = r.id AND d.state = 'claimed' AND d.claimed_by = r.owner AND d.attempt_count = r.number
  RETURNING d.id),
attempted AS (
  INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id, verdict, outcome_unknown)
  SELECT r.id, r.number, r.attempt_id, r.request_id, r.verdict, r.outcome_unknown
  FROM result r JOIN mine USING (id) WHERE r.counts),
requested AS (
  INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, failure,
    failure_detail, answer_headers, answer_excerpt, answer_cut, answer_unreadable, started_at, duration)
  SELECT q.* FROM unnest(
    CAST(:q_id AS uuid[]), CAST(:q_webhook_id AS uuid[]), CAST(:q_method AS text[]), CAST(:q_url AS text[]),
    CAST(:q_headers AS text[]), CAST(:q_status AS smallint[]), CAST(:q_failure AS text[]),
    CAST(:q_detail AS text[]), CAST(:q_answer_headers AS text[]), CAST(:q_excerpt AS bytea[]),
    CAST(:q_cut AS boolean[]), CAST(:q_unreadable AS boolean[]), CAST(:q_started_at AS timestamptz[]),
    CAST(:q_duration AS interval[])) AS q(id, webhook_id, method, url, headers, status, failure, detail,
    answer_headers, excerpt, cut, unreadable, started_at, duration)
  WHERE EXISTS (SELECT 1 FROM result r JOIN mine USING (id) WHERE r.request_id = q.id))
SELECT id FROM mine
""")

_DISABLE = text("""
UPDATE dispatcher.webhooks
SET enabled = false, disabled_at = now(), disabled_by = 'response rule', disabled_reason = :reason,
    version = version + 1, updated_at = now()
WHERE id = :id AND enabled AND deleted_at IS NULL RETURNING id
""")


def record(connection: Connection, results: Sequence[Result]) -> set[UUID]:
    """Writes results and their requests. Returns the deliveries whose claim was still their owner's; of the others
    nothing is written: somebody else has taken over."""
    requests = {result.sent.exchange.request.id: result.sent for result in results if result.sent is not None}
    parameters = {**_result_columns(results), **_request_columns(requests.values())}
    return set(connection.execute(_RECORD, parameters).scalars())


def disable_webhook(connection: Connection, webhook_id: UUID, reason: str) -> bool:
    """A response rule's consequence. True if it was enabled until now."""
    return connection.execute(_DISABLE, {"id": webhook_id, "reason": reason}).first() is not None


def _result_columns(results: Sequence[Result]) -> dict[str, Any]:
    ends = [_end(result) for result in results]
    return {
        "id": [result.delivery_id for result in results],
        "number": [result.number for result in results],
        "owner": [result.owner for result in results],
        "state": [str(end[0]) for end in ends],
        "reason": [end[1] for end in ends],
        "delay": [end[2] for end in ends],
        "step": [end[3] for end in ends],
        "unknown": [end[4] for end in ends],
        "batch_limit": [_batch_limit(result.decision) for result in results],
        "counts": [result.counts for result in results],
        "verdict": [result.verdict and str(result.verdict) for result in results],
        "outcome_unknown": [result.outcome_unknown for result in results],
        "attempt_id": [new_id() for _ in results],
        "request_id": [result.sent.exchange.request.id if result.sent else None for result in results],
    }


def _end(result: Result) -> tuple[State, str | None, Any, int, int]:
    """(state, reason, delay, schedule step, unknown outcomes in a row) that a decision leaves behind."""
    match result.decision:
        case Delivered():
            return State.DELIVERED, None, None, result.step, 0
        case Split():
            return State.READY, None, None, result.step, 0
        case Retry(delay, step):
            return State.WAITING, None, delay, step, 0
        case Again(unknown):
            return State.READY, None, None, result.step, unknown
        case Discard(reason):
            return State.DISCARDED, str(reason), None, result.step, 0
        case _:
            assert_never(result.decision)


def _batch_limit(decision: Decision) -> int | None:
    """The largest batch a delivery may be in from now on; None: what it was."""
    match decision:
        case Split(limit):
            return limit
        case Retry(alone=True):
            return 1
        case _:
            return None


def _request_columns(requests: Iterable[Sent]) -> dict[str, Any]:
    rows = [_request_row(sent) for sent in requests]
    return {f"q_{name}": [row[name] for row in rows] for name in _REQUEST_COLUMNS}


_REQUEST_COLUMNS = (
    "id", "webhook_id", "method", "url", "headers", "status", "failure", "detail", "answer_headers", "excerpt",
    "cut", "unreadable", "started_at", "duration",
)  # fmt: skip


def _request_row(sent: Sent) -> dict[str, Any]:
    exchange = sent.exchange
    row: dict[str, Any] = {
        "id": exchange.request.id,
        "webhook_id": sent.webhook_id,
        "method": str(exchange.request.method),
        "url": sent.url_masked,
        "headers": masked_headers(exchange.request),
        "started_at": exchange.started_at,
        "duration": exchange.duration,
        **dict.fromkeys(("status", "failure", "detail", "answer_headers", "excerpt")),
        "cut": False,
        "unreadable": False,
    }
    match exchange.outcome:
        case Reply(status, headers, body, body_cut, body_unreadable):
            lines = "\n".join(f"{name}: {value}" for name, value in headers).replace("\0", "\ufffd")
            row |= {
                "status": status,
                "answer_headers": lines[:KEPT_HEADERS],
                "excerpt": body[:KEPT_BODY],
                "cut": body_cut or len(body) > KEPT_BODY or len(lines) > KEPT_HEADERS,
                "unreadable": body_unreadable,
            }
        case Failure(kind, detail):
            row |= {"failure": str(kind), "detail": detail}
        case _:
            assert_never(exchange.outcome)
    return row
