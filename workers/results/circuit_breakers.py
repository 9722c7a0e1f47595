"""Writes down which webhooks keep failing: closes their gates, moves their probes on, opens them with a success."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import structlog
from sqlalchemy import Connection, text

from dispatcher.db.arrays import array, arrays
from schedules.circuit_breaker import Gate, after_failures
from schedules.retry import RetrySchedule
from schedules.timing import Timing

log = structlog.get_logger("dispatcher.gates")


@dataclass(frozen=True, slots=True)
class Sign:
    """What one request says of its webhook. `failed`: temporarily; a rejection is an answer, so a sign of life.
    `known`: there was something to tell of the webhook's gate when the request was claimed."""

    webhook_id: str
    schedule: RetrySchedule
    failed: bool
    probe: bool
    known: bool


_BEGIN = text("""
INSERT INTO dispatcher.gates (webhook_id, failures, failing_since)
SELECT id, 0, now() FROM unnest(CAST(:ids AS uuid[])) AS w(id) ON CONFLICT DO NOTHING
""")

_LOCK = text("""
SELECT g.*, webhook_id::text AS webhook, now() AS now FROM dispatcher.gates g
WHERE webhook_id = ANY(CAST(:ids AS uuid[]))
ORDER BY webhook_id FOR UPDATE
""")

_WRITE = text("""
UPDATE dispatcher.gates g
SET failures = n.failures, failing_since = n.failing_since, closed_at = n.closed_at, probes = n.probes,
    probe_at = n.probe_at
FROM unnest(CAST(:ids AS uuid[]), CAST(:failures AS integer[]), CAST(:failing_since AS timestamptz[]),
            CAST(:closed_at AS timestamptz[]), CAST(:probes AS integer[]), CAST(:probe_at AS timestamptz[]))
     AS n(webhook_id, failures, failing_since, closed_at, probes, probe_at)
WHERE g.webhook_id = n.webhook_id
""")

_OPEN = text("DELETE FROM dispatcher.gates WHERE webhook_id = ANY(CAST(:ids AS uuid[]))")

_RELEASE = text("UPDATE dispatcher.gates SET probe_at = now() WHERE webhook_id = ANY(CAST(:ids AS uuid[]))")


def settle_gates(connection: Connection, signs: Iterable[Sign], *, threshold: int, timing: Timing) -> None:
    """Brings the gates up to date with what came of requests, in their order. Costs nothing while nothing fails."""
    by_webhook: dict[str, list[Sign]] = {}
    for sign in signs:
        by_webhook.setdefault(sign.webhook_id, []).append(sign)
    told = {
        webhook_id: of_one
        for webhook_id, of_one in by_webhook.items()
        if any(sign.failed or sign.known for sign in of_one)
    }
    if not told:
        return
    # In one order in every process: two that write the same gates must not wait for each other.
    failing = sorted(webhook_id for webhook_id, of_one in told.items() if of_one[-1].failed)
    if failing:
        connection.execute(_BEGIN, {"ids": array(failing)})
    rows = connection.execute(_LOCK, {"ids": array(told)}).all()
    changed = {}
    for row in rows:
        before = Gate(*(getattr(row, field.name) for field in fields(Gate)))
        after = _after(before, told[row.webhook], now=row.now, threshold=threshold, timing=timing)
        changed[row.webhook] = after
        _tell(row.webhook, before, after, row.now)
    _write(connection, changed)


def release_probes(connection: Connection, webhook_ids: Sequence[str]) -> None:
    """Probes that were claimed and told nothing: another may be made at once."""
    if webhook_ids:
        connection.execute(_RELEASE, {"ids": array(sorted(webhook_ids))})


def _after(gate: Gate, signs: Sequence[Sign], *, now: Any, threshold: int, timing: Timing) -> Gate | None:
    """The gate after these signs; None: open, with nothing to tell."""
    since_success: list[Sign] = []
    for sign in signs:
        since_success = [*since_success, sign] if sign.failed else []
    if not since_success:
        return None
    return after_failures(
        gate if len(since_success) == len(signs) and gate.failures else None,
        len(since_success),
        probe_failed=any(sign.probe for sign in since_success),
        threshold=threshold,
        schedule=signs[-1].schedule,
        now=now,
        timing=timing,
    )


def _write(connection: Connection, changed: dict[str, Gate | None]) -> None:
    closing = {webhook_id: gate for webhook_id, gate in changed.items() if gate is not None}
    opened = [webhook_id for webhook_id, gate in changed.items() if gate is None]
    if closing:
        columns = {field.name: [getattr(gate, field.name) for gate in closing.values()] for field in fields(Gate)}
        connection.execute(_WRITE, arrays({"ids": closing, **columns}))
    if opened:
        connection.execute(_OPEN, {"ids": array(opened)})


def _tell(webhook_id: str, before: Gate, after: Gate | None, now: Any) -> None:
    was_closed = before.closed_at is not None
    is_closed = after is not None and after.closed_at is not None
    if is_closed and not was_closed:
        assert after is not None
        log.warning("gate closed", webhook=webhook_id, failures=after.failures, probe_at=str(after.probe_at))
    elif was_closed and not is_closed:
        assert before.closed_at is not None
        seconds = round((now - before.closed_at).total_seconds(), 1)
        log.warning("gate opened", webhook=webhook_id, closed_for_s=seconds, probes=before.probes)
