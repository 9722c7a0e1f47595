"""Records the errors that are reported to webhooks' contacts: one mail per error in 24 hours, the rest is counted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple, assert_never

from sqlalchemy import Connection, text

from dispatcher.db.arrays import arrays
from dispatcher.ids import new_id_text
from dispatcher.transport.exchange import Failure, Reply
from dispatcher.webhooks.notices import NoticeKind
from schedules.quiet_period import QUIET_PERIOD


@dataclass(frozen=True, slots=True)
class Observation:
    """One error that was observed, or several that are alike. `retry_delay` is None if no retry follows."""

    webhook_id: str
    kind: NoticeKind
    fingerprint: str
    delivery_id: str
    request_id: str | None
    retry_delay: timedelta | None
    has_contact: bool
    seen: int = 1


class Observed(NamedTuple):
    """How many mails became due, and what was not recorded because somebody has locked its notice."""

    mails_due: int
    locked: Sequence[Observation]


def fingerprint(outcome: Reply | Failure) -> str:
    """What makes two errors of a webhook the same: only the status, or the kind of failure."""
    match outcome:
        case Reply(status=status):
            return f"http_{status}"
        case Failure(kind=kind):
            return kind.value
        case _:
            assert_never(outcome)


def observe(connection: Connection, observations: Sequence[Observation]) -> Observed:
    """Records a group of errors in the caller's transaction. It waits for no notice that somebody has locked.

    Call it after `record`: all workers write to the same few rows while a receiver is down. Only the circuit breakers
    are updated later, whose rows are as contended.
    """
    groups: dict[tuple[str, str, str], list[Observation]] = {}
    for observation in observations:
        key = observation.webhook_id, str(observation.kind), observation.fingerprint
        groups.setdefault(key, []).append(observation)
    if not groups:
        return Observed(0, ())
    # In the same order in every worker: two of them that insert the same must not deadlock.
    reported = {key: _merged(groups[key]) for key in sorted(groups)}
    rows = connection.execute(
        _OBSERVE,
        arrays(
            {
                "id": [new_id_text() for _ in reported],
                "webhook_id": [one.webhook_id for one in reported.values()],
                "kind": [str(one.kind) for one in reported.values()],
                "fingerprint": [one.fingerprint for one in reported.values()],
                "delivery_id": [one.delivery_id for one in reported.values()],
                "request_id": [one.request_id for one in reported.values()],
                "retry_delay": [one.retry_delay for one in reported.values()],
                "has_contact": [one.has_contact for one in reported.values()],
                "seen": [one.seen for one in reported.values()],
            }
        )
        | {"quiet_period": QUIET_PERIOD},
    ).all()
    for row in rows:
        del reported[row.webhook, row.kind, row.fingerprint]
    return Observed(sum(row.due for row in rows), list(reported.values()))


def _merged(group: Sequence[Observation]) -> Observation:
    """The observation that a mail would report, for all of them: the first one with a contact (a webhook can change
    within a group)."""
    shown = next((one for one in group if one.has_contact), group[0])
    return replace(shown, seen=sum(one.seen for one in group))


# A new row has the proposed due time only if there is a contact. So `excluded.due_at` says whether there is one, and
# `excluded.suppressed_count` how many of the group no mail would report even if one becomes due. A mail that is being
# sent has already opened its quiet period.
_QUIET = "(excluded.due_at IS NULL OR n.due_at IS NOT NULL OR n.last_sent_at > excluded.observed_at - :quiet_period)"

_SAME = "n.webhook_id = o.webhook_id AND n.kind = o.kind AND n.fingerprint = o.fingerprint"

_OBSERVE = text(f"""
WITH o AS MATERIALIZED (
  SELECT * FROM unnest(
    CAST(:id AS uuid[]), CAST(:webhook_id AS uuid[]), CAST(:kind AS text[]), CAST(:fingerprint AS text[]),
    CAST(:delivery_id AS uuid[]), CAST(:request_id AS uuid[]), CAST(:retry_delay AS interval[]),
    CAST(:has_contact AS boolean[]), CAST(:seen AS integer[])) WITH ORDINALITY
  AS o(id, webhook_id, kind, fingerprint, delivery_id, request_id, retry_delay, has_contact, seen, place)),
unlocked AS MATERIALIZED (
  SELECT o.place FROM o JOIN dispatcher.notices n ON {_SAME} FOR NO KEY UPDATE OF n SKIP LOCKED)
INSERT INTO dispatcher.notices AS n
  (id, webhook_id, kind, fingerprint, observed_at, delivery_id, request_id, retry_at, due_at, suppressed_count)
SELECT id, webhook_id, kind, fingerprint, now(), delivery_id, request_id, now() + retry_delay,
       CASE WHEN has_contact THEN now() END, seen - has_contact::integer
FROM o WHERE place IN (SELECT place FROM unlocked) OR NOT EXISTS (SELECT 1 FROM dispatcher.notices n WHERE {_SAME})
ORDER BY place
ON CONFLICT (webhook_id, kind, fingerprint) DO UPDATE SET
  suppressed_count = least(n.suppressed_count, 2000000000) + excluded.suppressed_count
    + CASE WHEN {_QUIET} AND excluded.due_at IS NOT NULL THEN 1 ELSE 0 END,
  failed_sends = CASE WHEN {_QUIET} THEN n.failed_sends ELSE 0 END,
  observed_at = CASE WHEN {_QUIET} THEN n.observed_at ELSE excluded.observed_at END,
  delivery_id = CASE WHEN {_QUIET} THEN n.delivery_id ELSE excluded.delivery_id END,
  request_id = CASE WHEN {_QUIET} THEN n.request_id ELSE excluded.request_id END,
  retry_at = CASE WHEN {_QUIET} THEN n.retry_at ELSE excluded.retry_at END,
  due_at = CASE WHEN {_QUIET} THEN n.due_at ELSE excluded.due_at END
RETURNING webhook_id::text AS webhook, kind, fingerprint,
          (due_at IS NOT NULL AND due_at = observed_at AND observed_at = now())::integer AS due
""")  # noqa: S608 - composed of constants
