"""Gives mails their turn within the limits, in the transaction that claims them, and holds back the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from dispatcher.db.arrays import array
from schedules.mail_limits import HOUR, MINUTE, MailLimits, SentBefore, mailbox
from schedules.quiet_period import QUIET_PERIOD


@dataclass(frozen=True, slots=True)
class Turn:
    """A mail may be sent now. For a contact that is not confirmed it says how many other notices are `waiting`, for
    another one how many are `outdated`: held back until they were too old to be sent."""

    mailbox: str
    owners: Sequence[UUID]  # in whose budgets for its kind it was counted
    is_confirmed: bool
    unconfirmed_before: datetime | None
    waiting: int
    outdated: int


def take_turn(
    connection: Connection,
    limits: MailLimits,
    *,
    webhook: UUID,
    account: UUID,
    contact: str,
    is_confirmed: bool,
    now: datetime,
) -> Turn | int:
    """A turn for one notice. If there is none, all due notices of the webhook are held back, and the number of those
    that were not held back before is returned. The turn is used up until `release_turn`."""
    box = mailbox(contact)
    known = connection.execute(_CONTACT, {"mailbox": box}).one()
    rows = connection.execute(_BUDGETS, {"account": account})
    budgets = {row.owner: row.sent_at if is_confirmed else row.unconfirmed_sent_at for row in rows}
    (of_all,) = (sent_at for owner, sent_at in budgets.items() if owner != account)
    of_webhook: Sequence[datetime] = ()
    if limits.per_webhook_minute:
        of_webhook = connection.scalars(_OF_WEBHOOK, {"webhook_id": webhook, "since": now - MINUTE}).all()
    unconfirmed = None if is_confirmed else known.unconfirmed_sent_at
    sent = SentBefore(known.sent_at, of_webhook, budgets[account], of_all, is_confirmed, unconfirmed)
    free_at = limits.free_at(sent, now=now)
    if free_at > now:
        held = {"webhook_id": webhook, "mailbox": box, "free_at": free_at, "quiet_period": QUIET_PERIOD}
        return int(connection.execute(_HOLD, held).scalar_one())
    recent = [moment for moment in known.sent_at if moment > now - HOUR]
    counted = {"mailbox": box, "sent_at": [*recent, now] if limits.per_contact_hour else []}
    connection.execute(_COUNT, counted | {"unconfirmed": known.unconfirmed_sent_at if is_confirmed else now})
    spent = {"owners": array(list(budgets)), "now": now, "since": now - HOUR}
    connection.execute(_SPEND if is_confirmed else _SPEND_UNCONFIRMED, spent)
    waiting = 0 if is_confirmed else connection.execute(_WAITING, {"mailbox": box, "account": account}).scalar_one()
    outdated = known.outdated if is_confirmed else 0
    return Turn(box, list(budgets), is_confirmed, known.unconfirmed_sent_at, waiting, outdated)


def release_turn(connection: Connection, turn: Turn, taken_at: datetime) -> None:
    """Undoes a turn whose mail was certainly not sent."""
    released = {"taken_at": taken_at, "before": turn.unconfirmed_before}
    connection.execute(_RELEASE, released | {"mailbox": turn.mailbox})
    connection.execute(_RETURN, {"owners": array(turn.owners), "taken_at": taken_at})


def uncount_outdated(connection: Connection, box: str, reported: int) -> None:
    """Subtracts what a mail has reported from how many became too old while they were held back."""
    connection.execute(_OUTDATED, {"mailbox": box, "reported": reported})


# Locks the row until the claim is committed, so that two workers never count the same mails. Then the account's, and
# the installation's: always in this order.
_CONTACT = text("""
INSERT INTO dispatcher.contacts AS c (mailbox) VALUES (:mailbox)
ON CONFLICT (mailbox) DO UPDATE SET mailbox = c.mailbox RETURNING sent_at, outdated, unconfirmed_sent_at
""")

_BUDGETS = text("""
INSERT INTO dispatcher.mail_budgets AS b (owner)
SELECT CAST(:account AS uuid) UNION ALL SELECT id FROM dispatcher.installation
ON CONFLICT (owner) DO UPDATE SET owner = b.owner RETURNING owner, sent_at, unconfirmed_sent_at
""")

# A notice causes at most one mail in 24 hours, so its last mail is its only one in the minute.
_OF_WEBHOOK = text(
    "SELECT last_sent_at FROM dispatcher.notices WHERE webhook_id = :webhook_id AND last_sent_at > :since"
)

# A notice that would be too old by its time becomes due earlier, to be dropped.
_HOLD = text("""
WITH due AS MATERIALIZED (
  SELECT id, held_for FROM dispatcher.notices
  WHERE webhook_id = :webhook_id AND due_at <= now() FOR UPDATE SKIP LOCKED),
held AS (
  UPDATE dispatcher.notices n
  SET held_for = :mailbox, due_at = least(CAST(:free_at AS timestamptz), n.observed_at + :quiet_period)
  FROM due WHERE n.id = due.id)
SELECT count(*) FROM due WHERE held_for IS DISTINCT FROM :mailbox
""")

_COUNT = text("""
UPDATE dispatcher.contacts SET sent_at = CAST(:sent_at AS timestamptz[]),
  unconfirmed_sent_at = CAST(:unconfirmed AS timestamptz)
WHERE mailbox = :mailbox
""")

_SPEND, _SPEND_UNCONFIRMED = (
    text(f"""
UPDATE dispatcher.mail_budgets SET {times} = array_append(
  ARRAY(SELECT moment FROM unnest({times}) AS moment WHERE moment > :since), CAST(:now AS timestamptz))
WHERE owner = ANY(CAST(:owners AS uuid[]))
""")  # noqa: S608 - constants
    for times in ("sent_at", "unconfirmed_sent_at")
)

_WAITING = text("""
SELECT count(*) FROM (
  SELECT 1 FROM dispatcher.notices n JOIN dispatcher.webhooks w ON w.id = n.webhook_id
  WHERE n.held_for = :mailbox AND w.account_id = :account LIMIT 1000) waiting
""")

_RELEASE = text("""
UPDATE dispatcher.contacts SET sent_at = array_remove(sent_at, CAST(:taken_at AS timestamptz)),
  unconfirmed_sent_at =
    CASE WHEN unconfirmed_sent_at = :taken_at THEN CAST(:before AS timestamptz) ELSE unconfirmed_sent_at END
WHERE mailbox = :mailbox
""")

_RETURN = text("""
UPDATE dispatcher.mail_budgets SET sent_at = array_remove(sent_at, CAST(:taken_at AS timestamptz)),
  unconfirmed_sent_at = array_remove(unconfirmed_sent_at, CAST(:taken_at AS timestamptz))
WHERE owner = ANY(CAST(:owners AS uuid[]))
""")

_OUTDATED = text("UPDATE dispatcher.contacts SET outdated = outdated - :reported WHERE mailbox = :mailbox")
