"""What is due: what no mail is made of ends together, and the accounts take turns with the rest."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from schedules.quiet_period import QUIET_PERIOD

PIECE = 1_000  # notices that are postponed or ended together
PAUSE_WHILE_SUSPENDED = timedelta(minutes=5)


class Ended(NamedTuple):
    """How many notices ended without a mail."""

    unsubscribed: int  # their contacts want none
    dropped: int  # there is no contact any more, or they are too old


def postpone_suspended(connection: Connection) -> int:
    """Postpones due notices of suspended accounts, up to PIECE, and returns how many. After the account is resumed they
    are sent, unless they are too old by then."""
    return connection.execute(_POSTPONE, {"pause": PAUSE_WHILE_SUSPENDED}).rowcount


def end_unmailed(connection: Connection) -> Ended:
    """Ends due notices of which no mail is made, up to PIECE: they are only counted. Customers and their receivers
    decide how many there are, so none of them may take the place of a mail."""
    return Ended(*connection.execute(_END, {"quiet_period": QUIET_PERIOD}).one())


def turns(connection: Connection, most: int) -> Sequence[UUID]:
    """The next `most` due notices of which a mail can be made: the oldest one of each account, then the second one of
    each, and so on. Customers decide how many of theirs are due at once."""
    return connection.scalars(_TURNS, {"quiet_period": QUIET_PERIOD, "most": most}).all()


# Their webhooks and contacts are looked up one by one (OFFSET), whatever the statistics say. It decides as `state_of`
# (dispatcher/accounts/recipients.py). A contact that is not known yet, of an older version, may get a mail.
_DUE = """
dispatcher.notices n CROSS JOIN LATERAL (
  SELECT w.account_id, a.suspended_at IS NOT NULL AS is_suspended,
    w.deleted_at IS NOT NULL OR w.contact_email IS NULL AS is_without_contact, r.mailbox,
    r.confirmed_at IS NOT NULL AS is_confirmed,
    r.unsubscribed_at IS NOT NULL OR r.confirmed_at IS NULL AND c.declined_at IS NOT NULL AS is_unwanted
  FROM dispatcher.webhooks w JOIN dispatcher.accounts a ON a.id = w.account_id
  LEFT JOIN dispatcher.recipients r
    ON r.account_id = w.account_id AND r.address = lower(w.contact_email) AND w.deleted_at IS NULL
  LEFT JOIN dispatcher.contacts c ON c.mailbox = r.mailbox
  WHERE w.id = n.webhook_id OFFSET 0) w
WHERE n.due_at <= now()
"""
_UNMAILED = "(w.is_without_contact OR w.is_unwanted OR n.observed_at <= now() - :quiet_period)"
_PIECE = f"ORDER BY n.due_at LIMIT {PIECE} FOR UPDATE OF n SKIP LOCKED"

_POSTPONE = text(f"""
UPDATE dispatcher.notices SET due_at = now() + :pause
WHERE id = ANY(ARRAY(SELECT n.id FROM {_DUE} AND w.is_suspended {_PIECE}))
""")

# What is unwanted opens its quiet period, so that an error that goes on costs one look in a day, and keeps the mailbox
# that it was for: it is mailed if the contact is confirmed again. A confirmed contact is told how many became too old.
_END = text(f"""
WITH chosen AS MATERIALIZED (
  SELECT n.id, n.held_for, w.mailbox, w.is_confirmed, w.is_unwanted FROM {_DUE} AND NOT w.is_suspended AND {_UNMAILED}
  {_PIECE}),
ended AS (
  UPDATE dispatcher.notices n SET due_at = NULL, claimed_until = NULL, failed_sends = 0,
    quarantined_at = NULL, quarantined_reason = NULL, suppressed_count = least(suppressed_count, 2147483646) + 1,
    held_for = CASE WHEN is_unwanted THEN mailbox END,
    last_sent_at = CASE WHEN is_unwanted THEN now() ELSE last_sent_at END
  FROM chosen WHERE n.id = chosen.id),
outdated AS (
  UPDATE dispatcher.contacts c SET outdated = least(outdated, 2000000000) + number
  FROM (SELECT held_for, count(*)::integer AS number FROM chosen
        WHERE is_confirmed AND NOT is_unwanted AND held_for IS NOT NULL GROUP BY held_for) held
  WHERE c.mailbox = held.held_for)
SELECT count(*) FILTER (WHERE is_unwanted), count(*) FILTER (WHERE NOT is_unwanted) FROM chosen
""")

_TURNS = text(f"""
SELECT id FROM (
  SELECT n.id, n.due_at, row_number() OVER (PARTITION BY w.account_id ORDER BY n.due_at, n.id) AS place
  FROM {_DUE} AND NOT w.is_suspended AND NOT {_UNMAILED}) due
ORDER BY place, due_at, id LIMIT :most
""")
