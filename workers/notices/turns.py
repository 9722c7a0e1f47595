"""Gives mails their turn within the limits, in the transaction that claims them, and holds back the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from schedules.mail_limits import HOUR, MINUTE, MailLimits, mailbox
from schedules.quiet_period import QUIET_PERIOD


@dataclass(frozen=True, slots=True)
class Turn:
    """A mail may be sent now. It also reports `waiting`, other notices that are held back, and `outdated`, notices that
    were held back until they were too old to be sent."""

    mailbox: str
    waiting: int
    outdated: int


def take_turn(
    connection: Connection, limits: MailLimits, *, notice: UUID, webhook: UUID, contact: str, now: datetime
) -> Turn | int:
    """A turn for one notice. If there is none, all due notices of the webhook are held back, each until its own time,
    and the number of those that were not held back before is returned. The turn is used up until `release_turn`."""
    box = mailbox(contact)
    known = connection.execute(_CONTACT, {"mailbox": box}).one()
    of_webhook: Sequence[datetime] = ()
    if limits.per_webhook_minute:
        of_webhook = connection.scalars(_OF_WEBHOOK, {"webhook_id": webhook, "since": now - MINUTE}).all()
    free_at = limits.free_at(to_contact=known.sent_at, of_webhook=of_webhook, now=now)
    if free_at > now:
        times = {"free_at": free_at, "gap": limits.gap, "quiet_period": QUIET_PERIOD}
        return int(connection.execute(_HOLD, {"webhook_id": webhook, "mailbox": box, **times}).scalar_one())
    recent = [moment for moment in known.sent_at if moment > now - HOUR]
    connection.execute(_COUNT, {"mailbox": box, "sent_at": [*recent, now] if limits.per_contact_hour else []})
    waiting = connection.execute(_WAITING, {"mailbox": box, "id": notice}).scalar_one()
    return Turn(box, waiting, known.outdated)


def release_turn(connection: Connection, box: str, taken_at: datetime) -> None:
    """Undoes a turn whose mail was certainly not sent."""
    connection.execute(_RELEASE, {"mailbox": box, "taken_at": taken_at})


def count_outdated(connection: Connection, box: str, change: int) -> None:
    """Adds 1 for a notice that became too old while it was held back; subtracts (negative) what a mail has reported."""
    connection.execute(_OUTDATED, {"mailbox": box, "change": change})


# Locks the row until the claim is committed, so that two workers never count the same mails.
_CONTACT = text("""
INSERT INTO dispatcher.contacts AS c (mailbox) VALUES (:mailbox)
ON CONFLICT (mailbox) DO UPDATE SET mailbox = c.mailbox RETURNING sent_at, outdated
""")

# A notice causes at most one mail in 24 hours, so its last mail is its only one in the minute.
_OF_WEBHOOK = text(
    "SELECT last_sent_at FROM dispatcher.notices WHERE webhook_id = :webhook_id AND last_sent_at > :since"
)

# A notice that would be too old by its time becomes due earlier, to be dropped.
_HOLD = text("""
WITH due AS MATERIALIZED (
  SELECT id, due_at, held_for FROM dispatcher.notices
  WHERE webhook_id = :webhook_id AND due_at <= now() FOR UPDATE SKIP LOCKED),
placed AS (SELECT id, held_for, row_number() OVER (ORDER BY due_at, id) - 1 AS place FROM due),
held AS (
  UPDATE dispatcher.notices n
  SET held_for = :mailbox, due_at = least(:free_at + place * CAST(:gap AS interval), n.observed_at + :quiet_period)
  FROM placed WHERE n.id = placed.id)
SELECT count(*) FROM placed WHERE held_for IS DISTINCT FROM :mailbox
""")

_COUNT = text("UPDATE dispatcher.contacts SET sent_at = CAST(:sent_at AS timestamptz[]) WHERE mailbox = :mailbox")

_WAITING = text("SELECT count(*) FROM dispatcher.notices WHERE held_for = :mailbox AND id <> :id")

_RELEASE = text(
    "UPDATE dispatcher.contacts SET sent_at = array_remove(sent_at, CAST(:taken_at AS timestamptz))"
    " WHERE mailbox = :mailbox"
)

_OUTDATED = text("UPDATE dispatcher.contacts SET outdated = outdated + :change WHERE mailbox = :mailbox")
