"""Records the results of attempts: many at once, in one transaction, and only where the claim is still held.

A crash before that means one more attempt, never a lost delivery. Nothing here waits for a row that is locked.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, TypeAlias, assert_never

from sqlalchemy import Connection, text

from dispatcher.accounts import audit
from dispatcher.accounts.actor import ResponseRule
from dispatcher.accounts.audit import Action
from dispatcher.db.arrays import Element, arrays
from dispatcher.db.new_ids import NEW_ID
from dispatcher.db.prepared import Prepared
from dispatcher.masking.answers import redacted
from dispatcher.states import State
from dispatcher.transport.exchange import Exchange, Failure, Reply
from dispatcher.webhooks.contract import Verdict
from workers.callbacks.render import masked_headers, secrets_in
from workers.callbacks.targets import Target
from workers.claims.claims import Attempt
from workers.results.decide import Decision, Delivered, Discard, Release, Retry, RetryUnknown, Split

KEPT_HEADERS = 8 * 1024
KEPT_BODY = 4 * 1024

Row: TypeAlias = tuple[Element, ...]


class Sent(NamedTuple):
    """A request that was made, for the record, and how many messages it carried; several results can share one.
    `refused` is the request before it in the same attempt: its token was refused."""

    target: Target
    exchange: Exchange
    messages: int = 1
    refused: Exchange | None = None


class Result(NamedTuple):
    """The result of one claimed delivery.

    `sent` is None if nothing was sent, if the outcome is unknown, or if the request cannot be recorded. `counts` is
    False if nothing was tried, so that the attempt's number is used again.
    """

    delivery_id: str
    number: int
    step: int
    owner: str  # of the claim
    decision: Decision
    verdict: Verdict | None = None
    sent: Sent | None = None
    counts: bool = True
    outcome_unknown: bool = False


class Recorded(NamedTuple):
    """The attempts (delivery, number) that were written, because the claim was still their owner's; those that were not
    because somebody has locked the delivery; and the transaction's id. For all others another loop has taken over, or
    the same loop with a later attempt."""

    mine: set[Attempt]
    locked: set[Attempt]
    transaction: str


_RESULT_TYPES = {
    "id": "uuid[]",
    "number": "integer[]",
    "owner": "uuid[]",
    "counts": "boolean[]",
    "verdict": "text[]",
    "outcome_unknown": "boolean[]",
    "request_id": "uuid[]",
    "state": "text[]",
    "reason": "text[]",
    "delay": "interval[]",
    "step": "integer[]",
    "unknown": "integer[]",
    "batch_limit": "smallint[]",
}
_REQUEST_TYPES = {
    "q_of": "uuid[]",  # the last request of the attempt: this one, or the one that replaces it
    "q_id": "uuid[]",
    "q_replaces": "uuid[]",
    "q_webhook_id": "uuid[]",
    "q_method": "text[]",
    "q_url": "text[]",
    "q_headers": "text[]",
    "q_verdict": "text[]",
    "q_messages": "smallint[]",
    "q_started_at": "timestamptz[]",
    "q_duration": "interval[]",
    "q_status": "smallint[]",
    "q_failure": "text[]",
    "q_detail": "text[]",
    "q_answer_headers": "text[]",
    "q_excerpt": "bytea[]",
    "q_cut": "boolean[]",
    "q_unreadable": "boolean[]",
}

# What follows reads what `mine` returns, without a join, and `IS TRUE` keeps the last part from becoming one: a plan
# that was made for a few rows could compare each of hundreds with each.
_RECORD = Prepared(
    "dispatcher_record",
    f"""
WITH result AS MATERIALIZED (
  SELECT *, '{State.CLAIMED}' AS was FROM unnest(
    :id, :number, :owner, :state, :reason, :delay, :step, :unknown, :batch_limit, :counts, :verdict, :outcome_unknown,
    :request_id)
  AS r(id, number, owner, state, reason, delay, step, unknown, batch_limit, counts, verdict, outcome_unknown,
       request_id)),
unlocked AS MATERIALIZED (
  SELECT ctid AS tid FROM dispatcher.deliveries WHERE id = ANY(:id) FOR NO KEY UPDATE SKIP LOCKED),
mine AS (
  UPDATE dispatcher.deliveries d
  SET state = r.state, reason = r.reason, due_at = coalesce(now() + r.delay, d.due_at),
      schedule_step = r.step, unknown_in_a_row = r.unknown, batch_limit = coalesce(r.batch_limit, d.batch_limit),
      bypasses_circuit = d.bypasses_circuit AND r.state = '{State.READY}',
      attempt_count = d.attempt_count - (NOT r.counts)::integer,
      deaths = CASE WHEN r.counts AND NOT r.outcome_unknown THEN 0 ELSE d.deaths END,
      claimed_by = NULL, claimed_until = NULL,
      finished_at = CASE WHEN r.state IN ('{State.DELIVERED}', '{State.DISCARDED}') THEN now() END
  FROM result r
  -- By their places, which shows a planner with old statistics how few these are. `was`, of a CTE that is materialized,
  -- keeps it from reading the whole index of claimed deliveries instead, dead entries included.
  WHERE d.ctid = ANY(ARRAY(SELECT tid FROM unlocked)) AND d.id = r.id
    AND d.state = r.was AND d.claimed_by = r.owner AND d.attempt_count = r.number
  RETURNING d.id, r.number, r.counts, r.verdict, r.outcome_unknown, r.request_id),
attempted AS (
  INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id, verdict, outcome_unknown)
  -- Without a request, the id is only used for its time.
  SELECT id, number, coalesce(request_id, {NEW_ID}), request_id, verdict, outcome_unknown FROM mine WHERE counts),
requested AS (
  INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, failure,
    failure_detail, answer_headers, answer_excerpt, answer_cut, answer_unreadable, verdict, messages, started_at,
    duration, replaces)
  SELECT id, webhook_id, method, url, headers, status, failure, detail, answer_headers, excerpt, cut, unreadable,
    verdict, messages, started_at, duration, replaces
  FROM unnest(
    :q_of, :q_replaces, :q_id, :q_webhook_id, :q_method, :q_url, :q_headers, :q_status, :q_failure, :q_detail,
    :q_answer_headers, :q_excerpt, :q_cut, :q_unreadable, :q_verdict, :q_messages, :q_started_at, :q_duration)
  AS q(of, replaces, id, webhook_id, method, url, headers, status, failure, detail, answer_headers, excerpt, cut,
       unreadable, verdict, messages, started_at, duration)
  WHERE (q.of IN (SELECT request_id FROM mine)) IS TRUE
  -- With the first results of its batch; others may have been locked then.
  ON CONFLICT (id) DO NOTHING)
SELECT id::text, number FROM mine UNION ALL SELECT pg_current_xact_id()::text, NULL
""",  # noqa: S608 - composed of constants
    _RESULT_TYPES | _REQUEST_TYPES,
    plan_seconds=1,
)

# As others see it, who have not committed yet.
_STILL_CLAIMED = text(f"""
SELECT r.id::text, r.number
FROM unnest(CAST(:id AS uuid[]), CAST(:number AS integer[]), CAST(:owner AS uuid[])) AS r(id, number, owner)
JOIN dispatcher.deliveries d ON d.id = r.id
WHERE d.state = '{State.CLAIMED}' AND d.claimed_by = r.owner AND d.attempt_count = r.number
""")  # noqa: S608 - composed of constants

_TO_DISABLE = """
SELECT id FROM dispatcher.webhooks WHERE id = :id AND version = :version AND enabled AND deleted_at IS NULL
"""
_STILL_TO_DISABLE = text(f"SELECT EXISTS ({_TO_DISABLE})")
_DISABLE = text(f"""
UPDATE dispatcher.webhooks
SET enabled = false, disabled_at = now(), disabled_by = :by, disabled_reason = :reason,
    version = version + 1, updated_at = now()
WHERE id = ({_TO_DISABLE} FOR NO KEY UPDATE SKIP LOCKED) RETURNING id, account_id
""")  # noqa: S608 - composed of constants


def record(connection: Connection, results: Sequence[Result]) -> Recorded:
    """Writes results and their requests, where the claim is still the owner's and nobody has locked the delivery."""
    requests = {result.sent.exchange.request.id: (result.sent, result.verdict) for result in results if result.sent}
    request_rows = [row for made in requests.values() for row in _request_rows(*made)]
    columns = {
        **_columns(_RESULT_TYPES, [_result_row(result) for result in results]),
        **_columns(_REQUEST_TYPES, request_rows),
    }
    *rows, last = _RECORD.execute(connection, arrays(columns)).all()
    mine = {(row.id, row.number) for row in rows}
    missing = [result for result in results if (result.delivery_id, result.number) not in mine]
    return Recorded(mine, _still_claimed(connection, missing), last.id)


def _still_claimed(connection: Connection, results: Sequence[Result]) -> set[Attempt]:
    if not results:
        return set()
    claims: dict[str, Sequence[Element]] = {
        "id": [result.delivery_id for result in results],
        "number": [result.number for result in results],
        "owner": [result.owner for result in results],
    }
    return {(row.id, row.number) for row in connection.execute(_STILL_CLAIMED, arrays(claims))}


def disable_webhook(connection: Connection, webhook_id: str, version: int, reason: str, request_id: str) -> bool | None:
    """Disables the webhook, as a response rule requires, if it still has this version: a webhook that was changed since
    is judged by its next answer. Returns whether this disabled it; None: somebody has locked it, so try again."""
    by = ResponseRule()
    wanted = {"id": webhook_id, "version": version}
    disabled = connection.execute(_DISABLE, wanted | {"reason": reason, "by": str(by)}).first()
    if disabled is None:
        return None if connection.scalar(_STILL_TO_DISABLE, wanted) else False
    changed = {"enabled": {"old": True, "new": False}, "disabled_reason": {"old": None, "new": reason}}
    detail = {"changed": changed, "request": request_id}
    audit.write(connection, by, Action.WEBHOOK_DISABLED, disabled.id, account=disabled.account_id, detail=detail)
    return True


def _columns(names: Collection[str], rows: Sequence[Row]) -> dict[str, Sequence[Element]]:
    return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())


def _result_row(result: Result) -> Row:
    return (
        result.delivery_id,
        result.number,
        result.owner,
        result.counts,
        result.verdict,
        result.outcome_unknown,
        result.sent.exchange.request.id if result.sent else None,
        *_end(result),
    )


def _end(result: Result) -> Row:
    """The columns that a decision sets: state, reason, delay, schedule step, unknown outcomes in a row, and the largest
    batch the delivery may be in from now on (None: unchanged)."""
    match result.decision:
        case Delivered():
            return State.DELIVERED, None, None, result.step, 0, None
        case Retry(delay, step, alone):
            return State.WAITING, None, delay, step, 0, 1 if alone else None
        case RetryUnknown(unknown):
            return State.READY, None, None, result.step, unknown, None
        case Release():
            return State.READY, None, None, result.step, 0, None
        case Split(limit):
            return State.READY, None, None, result.step, 0, limit
        case Discard(reason):
            return State.DISCARDED, reason, None, result.step, 0, None
        case _:
            assert_never(result.decision)


def _request_rows(sent: Sent, verdict: Verdict | None) -> list[Row]:
    last, refused = sent.exchange.request.id, sent.refused
    if refused is None:
        return [_request_row(sent, verdict, of=last)]
    # What it answered decided nothing: it has no verdict.
    return [
        _request_row(sent._replace(exchange=refused), None, of=last),
        _request_row(sent, verdict, of=last, replaces=refused.request.id),
    ]


def _request_row(sent: Sent, verdict: Verdict | None, *, of: str, replaces: str | None = None) -> Row:
    target, exchange, messages, _ = sent
    request = exchange.request
    return (
        of,
        request.id,
        replaces,
        target.id,
        request.method,
        target.url_masked,
        masked_headers(request, target),
        verdict,
        messages,
        exchange.started_at,
        exchange.duration,
        *_answer(sent),
    )


def _answer(sent: Sent) -> Row:
    outcome = sent.exchange.outcome
    match outcome:
        case Reply(status, headers, body, body_cut, body_unreadable):
            secrets = secrets_in(sent.exchange.request, sent.target)
            lines = "\n".join([f"{name}: {value}" for name, value in headers]).encode("latin-1", "replace")
            cut = body_cut or len(body) > KEPT_BODY or len(lines) > KEPT_HEADERS
            kept_lines = redacted(lines, secrets, KEPT_HEADERS).decode("latin-1").replace("\0", "\ufffd")
            kept_body = redacted(body, secrets, KEPT_BODY) if body else b""
            return status, None, None, kept_lines, kept_body, cut, body_unreadable
        case Failure(kind, detail):
            return None, kind, detail, None, None, False, False
        case _:
            assert_never(outcome)
