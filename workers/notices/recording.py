"""Records what became of a mail, for each notice in it and for who got it."""

import logging
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from sqlalchemy import Connection, text

from schedules.mail_limits import mailbox
from schedules.quiet_period import next_try
from workers.notices.claiming import Claimed, ClaimedMail
from workers.notices.mailer import CleanFailure, MailResult, MaybeSent, PermanentFailure, Sent
from workers.notices.turns import release_turn, uncount_outdated

log = logging.getLogger("workers.notices")


class Ending(StrEnum):
    """What happened to a due mail."""

    SENT = "sent"
    POSTPONED = "postponed"  # a clean failure: tried again
    DROPPED = "dropped"  # no contact, too late, or tried often enough: only counted
    REFUSED = "refused"  # permanently: not tried again within the quiet period
    UNKNOWN = "unknown"  # sent, but it is not known whether it arrived: never sent again
    HELD_BACK = "held_back"  # above a limit: sent later, unless it becomes too old
    UNSUBSCRIBED = "unsubscribed"  # its contact wants no mails: only counted
    QUARANTINED = "quarantined"  # it cannot be read or written as a mail: put aside alone


def record(connection: Connection, mail: ClaimedMail, result: MailResult) -> list[Ending]:
    """Records the result of a mail, where the claim still exists. Returns what became of each notice, the first one
    first."""
    now = connection.execute(_NOW).scalar_one()
    endings = [_record(connection, mail, notice, result, now) for notice in (mail.first, *mail.others)]
    _count_for_contact(connection, mail, result)
    if not isinstance(result, Sent):
        log.warning("notice %s %s: %s", mail.first.id, endings[0], result.detail)
    return endings


def release(connection: Connection, mail: ClaimedMail) -> None:
    """For a mail that could not be made, after its first notice was quarantined: the others are due again."""
    for notice in mail.others:
        _write(connection, mail, notice, due_at=mail.claimed_at, quiet_period_undone=True, held=True)
    release_turn(connection, mail.turn, mail.claimed_at)


def _record(connection: Connection, mail: ClaimedMail, notice: Claimed, result: MailResult, now: datetime) -> Ending:
    ending, due_at = _ending(notice, result, now=now)
    reported = notice.suppressed if ending is Ending.SENT else 0
    _write(
        connection,
        mail,
        notice,
        due_at=due_at,
        failed_sends=notice.failed_sends + 1 if ending is Ending.POSTPONED else 0,
        sent=int(ending is Ending.SENT),
        suppressed=-reported + int(ending is Ending.DROPPED),
        quiet_period_undone=ending in {Ending.POSTPONED, Ending.DROPPED},
        # Those that shared a mail will share the next one.
        held=ending is Ending.POSTPONED and bool(mail.others),
    )
    return ending


def _write(
    connection: Connection,
    mail: ClaimedMail,
    notice: Claimed,
    *,
    due_at: datetime | None,
    failed_sends: int = 0,
    sent: int = 0,
    suppressed: int = 0,
    quiet_period_undone: bool,
    held: bool,
) -> None:
    connection.execute(
        _RECORD,
        {
            "id": notice.id,
            "claimed_until": mail.claimed_until,
            "due_at": due_at,
            "failed_sends": failed_sends,
            "sent": sent,
            "suppressed": suppressed,
            "quiet_period_undone": quiet_period_undone,
            "previously_sent_at": notice.previously_sent_at,
            "held_for": mailbox(mail.contact) if held else None,
        },
    )


def _count_for_contact(connection: Connection, mail: ClaimedMail, result: MailResult) -> None:
    if isinstance(result, CleanFailure):
        release_turn(connection, mail.turn, mail.claimed_at)
    elif isinstance(result, Sent):
        # In the order in which somebody who unsubscribes locks them.
        connection.execute(_GOT_ONE, {"id": mail.standing.recipient})
        if mail.turn.outdated:
            uncount_outdated(connection, mail.turn.mailbox, mail.turn.outdated)


def _ending(notice: Claimed, result: MailResult, *, now: datetime) -> tuple[Ending, datetime | None]:
    match result:
        case Sent():
            return Ending.SENT, None
        case PermanentFailure():
            return Ending.REFUSED, None
        case MaybeSent():
            return Ending.UNKNOWN, None
        case CleanFailure():
            due_at = next_try(notice.failed_sends + 1, observed_at=notice.observed_at, now=now)
            return (Ending.POSTPONED if due_at else Ending.DROPPED), due_at
        case _:
            assert_never(result)


_NOW = text("SELECT now()")

_RECORD = text("""
UPDATE dispatcher.notices
SET claimed_until = NULL, due_at = :due_at, failed_sends = :failed_sends, held_for = :held_for,
    sent_count = least(sent_count, 2147483646) + :sent,
    suppressed_count = least(suppressed_count, 2147483646) + :suppressed,
    last_sent_at = CASE WHEN :quiet_period_undone THEN CAST(:previously_sent_at AS timestamptz) ELSE last_sent_at END
WHERE id = :id AND claimed_until = :claimed_until
""")

_GOT_ONE = text("""
UPDATE dispatcher.recipients SET sent_count = least(sent_count, 2147483646) + 1, last_sent_at = now() WHERE id = :id
""")
