"""Records which webhooks keep failing: opens their circuits, sets the next trial, closes them after a success."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import structlog
from sqlalchemy import Connection, text

from dispatcher.db.arrays import array, arrays
from schedules.circuit_breaker import CircuitBreaker, after_failures
from schedules.retry import RetrySchedule
from schedules.timing import Timing

log = structlog.get_logger("dispatcher.circuit_breakers")


@dataclass(frozen=True, slots=True)
class AttemptSignal:
    """What one request says about its webhook. `failed`: temporarily; a rejection is an answer, and so proof of life.
    `known`: the webhook had a row in `circuit_breakers` when the request was claimed. `requests`: so many in a row say
    the same."""

    webhook_id: str
    schedule: RetrySchedule
    failed: bool
    trial: bool
    known: bool
    requests: int = 1


# What is there is left alone: an insert would wait for somebody who is just changing or deleting it.
_BEGIN = text("""
INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since)
SELECT id, 0, now() FROM unnest(CAST(:ids AS uuid[])) AS w(id)
WHERE NOT EXISTS (SELECT 1 FROM dispatcher.circuit_breakers WHERE webhook_id = id) ON CONFLICT DO NOTHING
""")

_LOCK = text("""
WITH unlocked AS MATERIALIZED (
  SELECT * FROM dispatcher.circuit_breakers WHERE webhook_id = ANY(CAST(:ids AS uuid[])) FOR UPDATE SKIP LOCKED)
SELECT unlocked.*, id::text AS webhook, now() AS now, unlocked.webhook_id IS NOT NULL AS is_mine
FROM unnest(CAST(:ids AS uuid[])) AS w(id) LEFT JOIN unlocked ON webhook_id = id
WHERE unlocked.webhook_id IS NOT NULL OR EXISTS (SELECT 1 FROM dispatcher.circuit_breakers b WHERE b.webhook_id = id)
""")

_WRITE = text("""
UPDATE dispatcher.circuit_breakers g
SET failures = n.failures, failing_since = n.failing_since, opened_at = n.opened_at, trials = n.trials,
    trial_at = n.trial_at
FROM unnest(CAST(:ids AS uuid[]), CAST(:failures AS integer[]), CAST(:failing_since AS timestamptz[]),
            CAST(:opened_at AS timestamptz[]), CAST(:trials AS integer[]), CAST(:trial_at AS timestamptz[]))
     AS n(webhook_id, failures, failing_since, opened_at, trials, trial_at)
WHERE g.webhook_id = n.webhook_id
""")

_CLOSE = text("DELETE FROM dispatcher.circuit_breakers WHERE webhook_id = ANY(CAST(:ids AS uuid[]))")

_RELEASE = text("UPDATE dispatcher.circuit_breakers SET trial_at = now() WHERE webhook_id = ANY(CAST(:ids AS uuid[]))")


def update_circuit_breakers(
    connection: Connection, signals: Iterable[AttemptSignal], *, threshold: int, timing: Timing
) -> list[AttemptSignal]:
    """Updates the circuit breakers with the results of requests, in order. Costs nothing while nothing fails. Returns
    the signals of webhooks whose row somebody has locked: to be given again, before later ones."""
    by_webhook: dict[str, list[AttemptSignal]] = {}
    for signal in signals:
        by_webhook.setdefault(signal.webhook_id, []).append(signal)
    relevant = {
        webhook_id: of_one
        for webhook_id, of_one in by_webhook.items()
        if any(signal.failed or signal.known for signal in of_one)
    }
    if not relevant:
        return []
    # In the same order in every process: two that insert the same must not deadlock.
    failing = sorted(webhook_id for webhook_id, of_one in relevant.items() if of_one[-1].failed)
    if failing:
        connection.execute(_BEGIN, {"ids": array(failing)})
    rows = connection.execute(_LOCK, {"ids": array(relevant)}).all()
    changed = {}
    for row in rows:
        if row.is_mine:
            before = CircuitBreaker(*(getattr(row, field.name) for field in fields(CircuitBreaker)))
            after = _after(before, relevant[row.webhook], now=row.now, threshold=threshold, timing=timing)
            changed[row.webhook] = after
            _log(row.webhook, before, after, row.now)
    _write(connection, changed)
    locked = ({row.webhook for row in rows} | set(failing)) - changed.keys()
    return [signal for webhook_id in sorted(locked) for signal in _merged(relevant[webhook_id])]


def release_trials(connection: Connection, webhook_ids: Sequence[str]) -> list[str]:
    """For trial requests that were claimed but not sent: another may be made at once. Returns the webhooks whose row
    somebody has locked."""
    if not webhook_ids:
        return []
    rows = connection.execute(_LOCK, {"ids": array(set(webhook_ids))}).all()
    connection.execute(_RELEASE, {"ids": array([row.webhook for row in rows if row.is_mine])})
    return [row.webhook for row in rows if not row.is_mine]


def _merged(signals: Sequence[AttemptSignal]) -> list[AttemptSignal]:
    """Two signals at most that say the same as all of them: the last answer, and the failures since."""
    merged: list[AttemptSignal] = []
    for signal in signals:
        if not signal.failed:
            merged = [signal]
        elif merged and merged[-1].failed:
            last = merged[-1]
            merged[-1] = replace(signal, trial=last.trial or signal.trial, requests=last.requests + signal.requests)
        else:
            merged.append(signal)
    return merged


def _after(
    breaker: CircuitBreaker, signals: Sequence[AttemptSignal], *, now: Any, threshold: int, timing: Timing
) -> CircuitBreaker | None:
    """The breaker after these signals; None if it is closed because the last attempt did not fail."""
    since_success: list[AttemptSignal] = []
    for signal in signals:
        since_success = [*since_success, signal] if signal.failed else []
    if not since_success:
        return None
    return after_failures(
        breaker if len(since_success) == len(signals) and breaker.failures else None,
        sum(signal.requests for signal in since_success),
        trial_failed=any(signal.trial for signal in since_success),
        threshold=threshold,
        schedule=signals[-1].schedule,
        now=now,
        timing=timing,
    )


def _write(connection: Connection, changed: dict[str, CircuitBreaker | None]) -> None:
    failing = {webhook_id: breaker for webhook_id, breaker in changed.items() if breaker is not None}
    answered = [webhook_id for webhook_id, breaker in changed.items() if breaker is None]
    if failing:
        columns = {
            field.name: [getattr(breaker, field.name) for breaker in failing.values()]
            for field in fields(CircuitBreaker)
        }
        connection.execute(_WRITE, arrays({"ids": failing, **columns}))
    if answered:
        connection.execute(_CLOSE, {"ids": array(answered)})


def _log(webhook_id: str, before: CircuitBreaker, after: CircuitBreaker | None, now: Any) -> None:
    was_open = before.opened_at is not None
    is_open = after is not None and after.opened_at is not None
    if is_open and not was_open:
        assert after is not None
        log.warning("circuit opened", webhook=webhook_id, failures=after.failures, trial_at=str(after.trial_at))
    elif was_open and not is_open:
        assert before.opened_at is not None
        seconds = round((now - before.opened_at).total_seconds(), 1)
        log.warning("circuit closed", webhook=webhook_id, open_for_s=seconds, trials=before.trials)
