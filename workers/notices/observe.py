"""Records the errors that are reported to webhooks' contacts: one mail per error in 24 hours, the rest is counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from sqlalchemy import Connection, text

from dispatcher.db.arrays import arrays
from dispatcher.ids import new_id_text
from dispatcher.transport.exchange import Failure, Reply
from dispatcher.webhooks.notices import NoticeKind
from schedules.quiet_period import QUIET_PERIOD


@dataclass(frozen=True, slots=True)
class Observation:
    """One error that was observed. `retry_delay` is None if no retry follows."""

    webhook_id: str
    kind: NoticeKind
    fingerprint: str
    delivery_id: str
    request_id: str | None
    retry_delay: timedelta | None
    has_contact: bool


def fingerprint(outcome: Reply | Failure) -> str:
    """What makes two errors of a webhook the same: only the status, or the kind of failure."""
    match outcome:
        case Reply(status=status):
            return f"http_{status}"
        case Failure(kind=kind):
            return kind.value
        case _:
            assert_never(outcome)


def observe(connection: Connection, observations: Sequence[Observation]) -> int:
    """Records a group of errors in the caller's transaction; returns how many mails became due by it.

    Call it after `record`: all workers write to the same few rows while a receiver is down, and each waits for the
    other's commit. Only the circuit breakers are updated later, whose rows are as contended.
    """
    groups: dict[tuple[str, NoticeKind, str], list[Observation]] = {}
    for observation in observations:
        key = observation.webhook_id, observation.kind, observation.fingerprint
        groups.setdefault(key, []).append(observation)
    if not groups:
        return 0
    # In the same order in every worker: two of them must not deadlock.
    reported = [_shown_in_mail(groups[key]) for key in sorted(groups)]
    counts = Counter({key: len(group) for key, group in groups.items()})
    rows = connection.execute(
        _OBSERVE,
        arrays(
            {
                "id": [new_id_text() for _ in reported],
                "webhook_id": [one.webhook_id for one in reported],
                "kind": [str(one.kind) for one in reported],
                "fingerprint": [one.fingerprint for one in reported],
                "delivery_id": [one.delivery_id for one in reported],
                "request_id": [one.request_id for one in reported],
                "retry_delay": [one.retry_delay for one in reported],
                "has_contact": [one.has_contact for one in reported],
                "seen": [counts[one.webhook_id, one.kind, one.fingerprint] for one in reported],
            }
        )
        | {"quiet_period": QUIET_PERIOD},
    )
    return sum(rows.scalars())


def _shown_in_mail(group: Sequence[Observation]) -> Observation:
    """The observation that a mail would report: the first one with a contact (a webhook can change within a group)."""
    return next((one for one in group if one.has_contact), group[0])


# A new row has the proposed due time only if there is a contact. So `excluded.due_at` says whether there is one, and
# `excluded.suppressed_count` how many of the group no mail would report even if one becomes due. A mail that is being
# sent has already opened its quiet period.
_QUIET = "(excluded.due_at IS NULL OR n.due_at IS NOT NULL OR n.last_sent_at > excluded.observed_at - :quiet_period)"

_OBSERVE = text(f"""
INSERT INTO dispatcher.notices AS n
  (id, webhook_id, kind, fingerprint, observed_at, delivery_id, request_id, retry_at, due_at, suppressed_count)
SELECT id, webhook_id, kind, fingerprint, now(), delivery_id, request_id, now() + retry_delay,
       CASE WHEN has_contact THEN now() END, seen - has_contact::integer
FROM unnest(CAST(:id AS uuid[]), CAST(:webhook_id AS uuid[]), CAST(:kind AS text[]), CAST(:fingerprint AS text[]),
            CAST(:delivery_id AS uuid[]), CAST(:request_id AS uuid[]), CAST(:retry_delay AS interval[]),
            CAST(:has_contact AS boolean[]), CAST(:seen AS integer[])) WITH ORDINALITY
     AS o(id, webhook_id, kind, fingerprint, delivery_id, request_id, retry_delay, has_contact, seen, place)
ORDER BY place
ON CONFLICT (webhook_id, kind, fingerprint) DO UPDATE SET
  suppressed_count = n.suppressed_count + excluded.suppressed_count
    + CASE WHEN {_QUIET} AND excluded.due_at IS NOT NULL THEN 1 ELSE 0 END,
  failed_sends = CASE WHEN {_QUIET} THEN n.failed_sends ELSE 0 END,
  observed_at = CASE WHEN {_QUIET} THEN n.observed_at ELSE excluded.observed_at END,
  delivery_id = CASE WHEN {_QUIET} THEN n.delivery_id ELSE excluded.delivery_id END,
  request_id = CASE WHEN {_QUIET} THEN n.request_id ELSE excluded.request_id END,
  retry_at = CASE WHEN {_QUIET} THEN n.retry_at ELSE excluded.retry_at END,
  due_at = CASE WHEN {_QUIET} THEN n.due_at ELSE excluded.due_at END
RETURNING (due_at IS NOT NULL AND due_at = observed_at AND observed_at = now())::integer
""")  # noqa: S608 - composed of constants
