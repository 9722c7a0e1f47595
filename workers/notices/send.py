"""Sends notices: due mails are claimed, sent and recorded, one per error in 24 hours."""
# ruff: noqa: S608 - composed of constants

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from enum import StrEnum
from time import monotonic
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from dispatcher.db.outages import is_outage
from dispatcher.errors import Unreadable
from dispatcher.masking.messages import Names, mask_echo
from dispatcher.webhooks.notices import NoticeKind
from schedules.quiet_period import MAIL_RETRIES, is_stale, next_try
from workers.notices.mailer import CleanFailure, Mailer, MailResult, MaybeSent, PermanentFailure, Sent
from workers.notices.texts import Problem, render
from workers.notices.turns import Turn, count_outdated, release_turn, take_turn

log = logging.getLogger("workers.notices")

MAX_MAILS = 200  # mails per run; the next run sends the rest
RUN_SECONDS = 60  # after so many no other mail is begun
LONGEST_MAIL = CLAIM_SPAN = timedelta(minutes=5)  # longer than one mail can take
_RUN_LOCK = 0x6D61696C  # "mail": the advisory lock of a run
PIECE = 1_000  # notices that are postponed together
PAUSE_WITHOUT_SERVER, PAUSE_WHILE_SUSPENDED = timedelta(minutes=15), timedelta(minutes=5)


class Ending(StrEnum):
    """What happened to a due mail."""

    SENT = "sent"
    POSTPONED = "postponed"  # a clean failure: tried again
    DROPPED = "dropped"  # no contact, too late, or tried often enough: only counted
    REFUSED = "refused"  # permanently: not tried again within the quiet period
    UNKNOWN = "unknown"  # sent, but it is not known whether it arrived: never sent again
    HELD_BACK = "held_back"  # above a limit: sent later, unless it becomes too old
    QUARANTINED = "quarantined"  # it cannot be read or written as a mail: put aside alone


@dataclass(frozen=True, slots=True)
class _ClaimedNotice:
    """A claimed notice. Its quiet period is already open; a clean failure restores `previously_sent_at`."""

    id: UUID
    claimed_at: datetime  # the database's clock
    claimed_until: datetime
    previously_sent_at: datetime | None
    failed_sends: int
    contact: str | None  # None: there is no contact any more
    turn: Turn | None  # None: no mail is sent
    held_for: str | None  # the mailbox that it was held back for
    facts: Any  # a row of `_FACTS`


class _Unusable:
    """A notice of which no mail can be made, and why. The text of an unexpected error could contain part of a
    message."""

    def __init__(self, notice: UUID, error: Exception) -> None:
        self.notice = notice
        self.why = (
            str(error) if isinstance(error, Unreadable) else f"no mail can be made of it ({type(error).__name__})"
        )


def send_due(
    engine: Engine, mailer: Mailer, *, most: int = MAX_MAILS, lock: Connection | None = None
) -> dict[str, int]:
    """Sends due mails, up to `most`, for a bounded time; returns how many ended in which way. What the task does.
    `lock`, if given, has a lock that must not end before.

    Raises only what the database raises. A mail server that cannot be used ends the run: the mail that failed waits for
    its next try, the others stay due. A notice of which no mail can be made is quarantined. One that kills the process
    is not tried again: nothing in it is looked at before its claim is committed.
    """
    tally: Counter[str] = Counter({ending.value: 0 for ending in Ending})
    if not mailer.configured:
        _wait_for_a_server(engine)
        return dict(tally)
    mails, until = 0, monotonic() + RUN_SECONDS
    while mails < most and monotonic() < until:
        if lock is not None:
            lock.execute(_NOW)
        with engine.begin() as connection:
            notice = _claim(connection, mailer)
        if notice is None:
            break
        if isinstance(notice, int):
            tally[Ending.HELD_BACK] += notice
            continue
        if isinstance(notice, _Unusable):
            tally[Ending.QUARANTINED] += 1
            continue
        mails += 1
        message = _message(notice, mailer)
        if isinstance(message, _Unusable):
            with engine.begin() as connection:
                _quarantine(connection, message)
                if notice.turn is not None:
                    release_turn(connection, notice.turn.mailbox, notice.claimed_at)
            tally[Ending.QUARANTINED] += 1
            continue
        result = mailer.send(message) if isinstance(message, EmailMessage) else message
        with engine.begin() as connection:
            ending = _record(connection, notice, result)
        tally[ending] += 1
        if isinstance(result, CleanFailure) and result.unavailable:
            break
    return dict(tally)


def send_due_alone(engine: Engine, mailer: Mailer) -> dict[str, int]:
    """`send_due`, unless a run is in progress anywhere: one mail to a server that hangs takes minutes, and must not
    take a second slot from the sweep. That run or the next one finds notices that become due meanwhile."""
    with engine.begin() as connection:
        # A transaction's lock: if this process dies, it ends at once, and if its machine does, after one mail's time.
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{LONGEST_MAIL.total_seconds()}s'"))
        if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _RUN_LOCK}):
            return {}
        return send_due(engine, mailer, lock=connection)


def close_abandoned(connection: Connection) -> int:
    """For upkeep: closes the claims of workers that died while sending. Those mails are not sent again, because it is
    unknown whether they were sent. Returns how many."""
    count = connection.execute(_CLOSE_ABANDONED).rowcount
    if count:
        log.warning("%d notices were being sent when their worker died: they are not sent again", count)
    return count


def _wait_for_a_server(engine: Engine) -> None:
    """Without a mail server due notices are postponed, again and again, so that fresh ones are sent once there is a
    server."""
    postponed, count = 0, PIECE
    while count == PIECE:
        with engine.begin() as connection:
            count = connection.execute(_POSTPONE, {"pause": PAUSE_WITHOUT_SERVER}).rowcount
        postponed += count
    if postponed:
        log.warning("%d notices are counted, not sent: no mail server is set (DISPATCHER_SMTP_HOST)", postponed)


def _claim(connection: Connection, mailer: Mailer) -> _ClaimedNotice | _Unusable | int | None:
    """Claims one notice and opens its quiet period. Once this is committed, only a recorded clean failure makes it due
    again, so that no crash, restart or second worker causes a second mail. One at a time: a crash costs one.

    One that cannot be read is quarantined. Returns a number if it is not the notice's turn: how many notices of its
    webhook were held back. None are if its account is suspended: then it is postponed, and others of suspended accounts
    with it, so that they are not read again for each notice after them.
    """
    row = connection.execute(_NEXT).one_or_none()
    if row is None:
        return None
    if row.suspended:
        connection.execute(_POSTPONE_SUSPENDED, {"pause": PAUSE_WHILE_SUSPENDED})
        return 0
    try:
        with connection.begin_nested():
            return _claimed(connection, row, mailer)
    except (OperationalError, InterfaceError, InternalError):  # the database's own
        raise
    except Exception as error:  # no row may stop the others, whatever is in it
        if is_outage(error):  # of all notices: a right or a column is missing
            raise
        unusable = _Unusable(row.id, error)
    _quarantine(connection, unusable)
    return unusable


def _claimed(connection: Connection, row: Any, mailer: Mailer) -> _ClaimedNotice | int:
    turn: Turn | None = None
    if row.contact is not None and not is_stale(row.observed_at, now=row.now):
        taken = take_turn(
            connection, mailer.limits, notice=row.id, webhook=row.webhook_id, contact=row.contact, now=row.now
        )
        if isinstance(taken, int):
            return taken
        turn = taken
    claimed_until = connection.execute(_CLAIM, {"id": row.id, "span": CLAIM_SPAN}).scalar_one()
    facts = connection.execute(_FACTS, {"id": row.id}).one()
    return _ClaimedNotice(
        id=row.id,
        claimed_at=row.now,
        claimed_until=claimed_until,
        previously_sent_at=row.last_sent_at,
        failed_sends=min(max(facts.failed_sends, 0), len(MAIL_RETRIES)),  # it counts no further
        contact=row.contact,
        turn=turn,
        held_for=row.held_for,
        facts=facts,
    )


def _problem(facts: Any, turn: Turn | None, masked: Names) -> Problem:
    if facts.kind not in set(NoticeKind):
        raise Unreadable("its kind is unknown")
    return Problem(
        kind=NoticeKind(facts.kind),
        fingerprint=facts.fingerprint,
        observed_at=facts.observed_at,
        retry_at=facts.retry_at,
        suppressed=facts.suppressed_count,
        reported_before=facts.sent_count > 0,
        waiting=turn.waiting if turn else 0,
        outdated=turn.outdated if turn else 0,
        account=facts.account,
        webhook_id=facts.webhook_id,
        webhook_name=facts.webhook_name,
        url_masked=facts.url_masked,
        webhook_enabled=facts.enabled,
        disabled_reason=facts.disabled_reason,
        delivery_id=facts.delivery_id,
        delivery_state=facts.delivery_state,
        delivery_reason=facts.delivery_reason,
        attempt=facts.attempt,
        event_id=facts.event_id,
        event_type=facts.event_type,
        subject=facts.subject,
        failure_detail=facts.failure_detail,
        answer=_answer(facts, masked),
        answer_cut=bool(facts.answer_cut),
    )


def _answer(facts: Any, masked: Names) -> bytes | None:
    """The answer's body as it may be shown. With masked members a batch's is left out: it may repeat any of the
    messages, and not all of them are at hand."""
    if facts.answer_excerpt is None or (masked and facts.of_batch):
        return None
    answer, message = bytes(facts.answer_excerpt), bytes(facts.data) if facts.data is not None else None
    if not masked:
        return answer
    text = answer.decode(errors="surrogateescape")
    return mask_echo(text, message, masked, cut=bool(facts.answer_cut)).encode(errors="surrogateescape")


def _quarantine(connection: Connection, unusable: _Unusable) -> None:
    """Puts a notice aside: no mail is due until its error is seen again, a day later, or until it is released."""
    connection.execute(_QUARANTINE, {"id": unusable.notice, "reason": unusable.why})
    log.error("notice %s quarantined: %s", unusable.notice, unusable.why)


def _message(notice: _ClaimedNotice, mailer: Mailer) -> EmailMessage | MailResult | _Unusable | None:
    """Returns None if there is no contact, or if it is too late."""
    try:
        return _rendered(notice, mailer)
    except Exception as error:  # noqa: BLE001 - no row may stop the others, whatever is in it
        return _Unusable(notice.id, error)


def _rendered(notice: _ClaimedNotice, mailer: Mailer) -> EmailMessage | MailResult | None:
    if notice.contact is None or notice.turn is None:
        return None
    problem = _problem(notice.facts, notice.turn, mailer.masked_members)
    words = render(problem, now=notice.claimed_at)
    message = mailer.message(
        to=notice.contact,
        subject=words.subject,
        plain=words.plain,
        html=words.html,
        # The same for each try of this mail, another one for the next mail about the same error.
        message_id=f"{notice.id.hex}.{int(problem.observed_at.timestamp() * 1000)}",
        date=notice.claimed_at,
    )
    if message is None:
        return PermanentFailure("the contact is not an address that a mail can be sent to")
    return message


def _record(connection: Connection, notice: _ClaimedNotice, result: MailResult | None) -> Ending:
    """Records the result of a mail, if the claim still exists."""
    ending, due_at = _ending(notice, result, now=connection.execute(_NOW).scalar_one())
    reported = notice.facts.suppressed_count if ending is Ending.SENT else 0
    quiet_period_undone = ending in {Ending.POSTPONED, Ending.DROPPED}
    connection.execute(
        _RECORD,
        {
            "id": notice.id,
            "claimed_until": notice.claimed_until,
            "due_at": due_at,
            "failed_sends": notice.failed_sends + 1 if ending is Ending.POSTPONED else 0,
            "sent": int(ending is Ending.SENT),
            "suppressed": -reported + int(ending is Ending.DROPPED),
            "quiet_period_undone": quiet_period_undone,
            "previously_sent_at": notice.previously_sent_at,
        },
    )
    _count_for_contact(connection, notice, result)
    if result is not None and not isinstance(result, Sent):
        log.warning("notice %s %s: %s", notice.id, ending, result.detail)
    return ending


def _count_for_contact(connection: Connection, notice: _ClaimedNotice, result: MailResult | None) -> None:
    if notice.turn is None:
        if notice.held_for is not None and notice.contact is not None:
            count_outdated(connection, notice.held_for, 1)
    elif isinstance(result, CleanFailure):
        release_turn(connection, notice.turn.mailbox, notice.claimed_at)
    elif isinstance(result, Sent) and notice.turn.outdated:
        count_outdated(connection, notice.turn.mailbox, -notice.turn.outdated)


def _ending(notice: _ClaimedNotice, result: MailResult | None, *, now: datetime) -> tuple[Ending, datetime | None]:
    match result:
        case None:
            return Ending.DROPPED, None
        case Sent():
            return Ending.SENT, None
        case PermanentFailure():
            return Ending.REFUSED, None
        case MaybeSent():
            return Ending.UNKNOWN, None
        case CleanFailure():
            due_at = next_try(notice.failed_sends + 1, observed_at=notice.facts.observed_at, now=now)
            return (Ending.POSTPONED if due_at else Ending.DROPPED), due_at
        case _:
            assert_never(result)


_NOW = text("SELECT now()")

# Found before the rest is joined, so that one row is read.
_NEXT = text("""
SELECT n.id, n.webhook_id, n.observed_at, n.held_for, n.last_sent_at, now() AS now,
       CASE WHEN w.deleted_at IS NULL THEN w.contact_email END AS contact, a.suspended_at IS NOT NULL AS suspended
FROM (SELECT * FROM dispatcher.notices WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) n
JOIN dispatcher.webhooks w ON w.id = n.webhook_id JOIN dispatcher.accounts a ON a.id = w.account_id
""")

_CLAIM = text("""
UPDATE dispatcher.notices SET due_at = NULL, held_for = NULL, claimed_until = now() + :span, last_sent_at = now(),
  quarantined_at = NULL, quarantined_reason = NULL
WHERE id = :id RETURNING claimed_until
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

_RECORD = text("""
UPDATE dispatcher.notices
SET claimed_until = NULL, due_at = :due_at, failed_sends = :failed_sends,
    sent_count = least(sent_count, 2147483646) + :sent,
    suppressed_count = least(suppressed_count, 2147483646) + :suppressed,
    last_sent_at = CASE WHEN :quiet_period_undone THEN CAST(:previously_sent_at AS timestamptz) ELSE last_sent_at END
WHERE id = :id AND claimed_until = :claimed_until
""")

_FIRST_DUE = f"""
SELECT id, webhook_id FROM dispatcher.notices WHERE due_at <= now() ORDER BY due_at LIMIT {PIECE} FOR UPDATE SKIP LOCKED
"""

_POSTPONE = text(f"""
UPDATE dispatcher.notices SET due_at = now() + :pause WHERE id = ANY(ARRAY(SELECT id FROM ({_FIRST_DUE}) n))
""")

# After the account is resumed they are sent, unless they are too old by then.
_POSTPONE_SUSPENDED = text(f"""
UPDATE dispatcher.notices SET due_at = now() + :pause WHERE id = ANY(ARRAY(
  SELECT n.id FROM ({_FIRST_DUE}) n JOIN dispatcher.webhooks w ON w.id = n.webhook_id
  JOIN dispatcher.accounts a ON a.id = w.account_id WHERE a.suspended_at IS NOT NULL))
""")

_CLOSE_ABANDONED = text("UPDATE dispatcher.notices SET claimed_until = NULL WHERE claimed_until < now()")
