"""Claims a notice that is due, for a mail, with what was held back for the same contact."""
# ruff: noqa: S608 - composed of constants

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from dispatcher.accounts.contact_states import ContactState
from dispatcher.accounts.recipients import Standing, standing_of
from dispatcher.db.arrays import array
from dispatcher.db.outages import is_outage
from dispatcher.errors import Unreadable
from dispatcher.webhooks.notices import NoticeKind
from schedules.mail_limits import MailLimits
from schedules.quiet_period import MAIL_RETRIES, QUIET_PERIOD
from workers.notices.turns import Turn, take_turn

log = logging.getLogger("workers.notices")

LONGEST_MAIL = CLAIM_SPAN = timedelta(minutes=5)  # longer than one mail can take
TOGETHER = 200  # notices in one mail

LimitsFor: TypeAlias = Callable[[object], MailLimits]  # of an account with these limits of its own, as they are stored


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed notice. Its quiet period is already open; a clean failure restores `previously_sent_at`."""

    id: UUID
    previously_sent_at: datetime | None
    failed_sends: int
    observed_at: datetime
    suppressed: int


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A claimed notice, and others that the same mail reports."""

    first: Claimed
    others: Sequence[Claimed]
    claimed_at: datetime  # the database's clock
    claimed_until: datetime
    contact: str
    standing: Standing
    turn: Turn
    facts: Any  # of the first one: a row of `_FACTS`
    lines: Sequence[Any]  # of all, if there are others: rows of `_LINES`


class Unusable:
    """A notice of which no mail can be made, and why. The text of an unexpected error could contain part of a
    message."""

    def __init__(self, notice: UUID, error: Exception) -> None:
        self.notice = notice
        self.why = (
            str(error) if isinstance(error, Unreadable) else f"no mail can be made of it ({type(error).__name__})"
        )


def claim(connection: Connection, notice: UUID, limits_for: LimitsFor) -> ClaimedMail | Unusable | int | None:
    """Claims a notice and opens its quiet period. Once this is committed, only a recorded clean failure makes it due
    again, so that no crash, restart or second worker causes a second mail. One mail at a time: a crash costs one.

    One that cannot be read is quarantined. Returns a number if a limit is reached: how many notices of its webhook were
    held back. None if it is not due any more, if another worker has it, or if no mail is made of it any more.
    """
    row = connection.execute(_ONE, {"id": notice}).one_or_none()
    if row is None:
        return None
    try:
        with connection.begin_nested():
            return _claimed(connection, row, limits_for)
    except (OperationalError, InterfaceError, InternalError):  # the database's own
        raise
    except Exception as error:  # no row may stop the others, whatever is in it
        if is_outage(error):  # of all notices: a right or a column is missing
            raise
        unusable = Unusable(row.id, error)
    quarantine(connection, unusable)
    return unusable


def _claimed(connection: Connection, row: Any, limits_for: LimitsFor) -> ClaimedMail | int | None:
    standing = standing_of(connection, row.account_id, row.contact)
    if not standing.gets_mail:
        return None
    is_confirmed = standing.state is ContactState.CONFIRMED
    turn = take_turn(
        connection,
        limits_for(row.account_limits),
        webhook=row.webhook_id,
        account=row.account_id,
        contact=row.contact,
        is_confirmed=is_confirmed,
        now=row.now,
    )
    if isinstance(turn, int):
        return turn
    others: Sequence[Any] = ()
    if is_confirmed:
        same = {"mailbox": turn.mailbox, "account": row.account_id, "contact": row.contact, "id": row.id}
        limited = {"kinds": [str(kind) for kind in NoticeKind], "quiet_period": QUIET_PERIOD}
        others = connection.execute(_HELD_FOR_SAME, same | limited).all()
    ids = array([str(row.id), *(str(other.id) for other in others)])
    claimed_until = connection.execute(_CLAIM, {"ids": ids, "span": CLAIM_SPAN}).scalars().first()
    assert claimed_until is not None
    return ClaimedMail(
        first=_of(row),
        others=[_of(other) for other in others],
        claimed_at=row.now,
        claimed_until=claimed_until,
        contact=row.contact,
        standing=standing,
        turn=turn,
        facts=connection.execute(_FACTS, {"id": row.id}).one(),
        lines=connection.execute(_LINES, {"ids": ids}).all() if others else (),
    )


def _of(row: Any) -> Claimed:
    failed_sends = min(max(row.failed_sends, 0), len(MAIL_RETRIES))  # it counts no further
    return Claimed(row.id, row.last_sent_at, failed_sends, row.observed_at, row.suppressed_count)


def quarantine(connection: Connection, unusable: Unusable) -> None:
    """Puts a notice aside: no mail is due until its error is seen again, a day later, or until it is released."""
    connection.execute(_QUARANTINE, {"id": unusable.notice, "reason": unusable.why})
    log.error("notice %s quarantined: %s", unusable.notice, unusable.why)


_ONE = text("""
SELECT n.id, n.webhook_id, n.observed_at, n.last_sent_at, n.failed_sends, n.suppressed_count,
       w.account_id, a.limits AS account_limits, now() AS now, w.contact_email AS contact
FROM dispatcher.notices n
JOIN dispatcher.webhooks w ON w.id = n.webhook_id JOIN dispatcher.accounts a ON a.id = w.account_id
WHERE n.id = :id AND n.due_at <= now() AND w.deleted_at IS NULL AND w.contact_email IS NOT NULL
  AND a.suspended_at IS NULL
FOR UPDATE OF n SKIP LOCKED
""")

_HELD_FOR_SAME = text(f"""
SELECT n.id, n.observed_at, n.last_sent_at, n.failed_sends, n.suppressed_count
FROM dispatcher.notices n JOIN dispatcher.webhooks w ON w.id = n.webhook_id
WHERE n.held_for = :mailbox AND n.id <> :id AND n.due_at IS NOT NULL AND n.observed_at > now() - :quiet_period
  AND n.kind = ANY(:kinds) AND w.account_id = :account AND w.deleted_at IS NULL
  AND lower(w.contact_email) = lower(:contact)
ORDER BY n.observed_at, n.id LIMIT {TOGETHER - 1} FOR UPDATE OF n SKIP LOCKED
""")

_CLAIM = text("""
UPDATE dispatcher.notices SET due_at = NULL, held_for = NULL, claimed_until = now() + :span, last_sent_at = now(),
  quarantined_at = NULL, quarantined_reason = NULL
WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING claimed_until
""")

_QUARANTINE = text("""
UPDATE dispatcher.notices SET due_at = NULL, held_for = NULL, claimed_until = NULL, last_sent_at = now(),
  quarantined_at = now(), quarantined_reason = :reason
WHERE id = :id
""")

# Events, requests and attempts may have been removed since.
_FACTS = text("""
SELECT n.kind, n.fingerprint, n.observed_at, n.retry_at, n.suppressed_count, n.sent_count, n.failed_sends,
       n.delivery_id, a.name AS account, w.id AS webhook_id, w.name AS webhook_name, w.enabled, w.disabled_reason,
       coalesce(r.url_masked, w.url_masked) AS url_masked,
       d.state AS delivery_state, d.reason AS delivery_reason,
       (SELECT max(t.number) FROM dispatcher.attempts t
         WHERE t.delivery_id = n.delivery_id AND t.request_id = n.request_id) AS attempt,
       d.event_id, e.type AS event_type, e.subject, r.failure_detail, r.answer_cut,
       CASE WHEN NOT r.answer_unreadable THEN r.answer_excerpt END AS answer_excerpt,
       CASE WHEN r.answer_excerpt <> '' THEN e.data END AS data,
       E'\n' || r.headers_masked LIKE E'%\nDispatcher-Batch-Size: %' AS of_batch
FROM dispatcher.notices n
JOIN dispatcher.webhooks w ON w.id = n.webhook_id
JOIN dispatcher.accounts a ON a.id = w.account_id
LEFT JOIN dispatcher.deliveries d ON d.id = n.delivery_id
LEFT JOIN dispatcher.events e ON e.id = d.event_id
LEFT JOIN dispatcher.requests r ON r.id = n.request_id
WHERE n.id = :id
""")

_LINES = text("""
SELECT n.id, n.kind, n.fingerprint, n.observed_at, n.suppressed_count, n.delivery_id, w.id AS webhook_id,
       w.name AS webhook_name, w.url_masked
FROM dispatcher.notices n JOIN dispatcher.webhooks w ON w.id = n.webhook_id
WHERE n.id = ANY(CAST(:ids AS uuid[])) ORDER BY w.id, n.observed_at, n.id
""")
