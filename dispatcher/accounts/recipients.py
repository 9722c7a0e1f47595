"""Those whom mails go to: whether they want them. Each address stands for itself in each account."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor, ActorKind, told
from dispatcher.accounts.audit import Action
from dispatcher.accounts.contact_states import ContactState
from dispatcher.db.models import Account, Contact, Recipient
from dispatcher.db.new_ids import NEW_ID
from dispatcher.db.pages import along
from dispatcher.errors import NotFound
from schedules.mail_limits import mailbox

MOST_HELD = 1_000


def state_of(recipient: "Recipient | Row[Any]", *, has_declined: bool = False) -> ContactState:
    """`has_declined`: what the mailbox's owner said to others; only operators and the mails themselves know it."""
    if recipient.unsubscribed_at is not None:
        return ContactState.UNSUBSCRIBED
    if recipient.confirmed_at is not None:
        return ContactState.CONFIRMED
    return ContactState.DECLINED if has_declined else ContactState.UNCONFIRMED


@dataclass(frozen=True, slots=True)
class RecipientRecord:
    """An address with what it got, and what waits for it."""

    recipient: Recipient
    has_declined: bool
    webhooks: int  # that name it now
    held_back: int  # notices; no more than MOST_HELD are counted


def name_contact(session: Session, account: UUID, address: str, *, by: Actor) -> None:
    """For a webhook that names the address from now on. One that an operator names is confirmed, unless its owner has
    unsubscribed."""
    if not by.is_operator:
        session.execute(_NAME, _named(account, address))
        return
    confirmed = session.execute(_NAME_CONFIRMED, _named(account, address) | {"by": told(by)}).one_or_none()
    if confirmed is not None and confirmed.confirmed_at is not None:
        _release_held(session, account, mailbox(address))


class Standing(NamedTuple):
    """Who a mail would go to, and whether it may."""

    recipient: UUID
    state: ContactState

    @property
    def gets_mail(self) -> bool:
        return self.state in {ContactState.CONFIRMED, ContactState.UNCONFIRMED}


def standing_of(connection: Connection, account: UUID, address: str) -> Standing:
    """For a mail that is about to be sent. An address that an older version has entered is not known yet."""
    found = connection.execute(_STANDING, {"account": account, "address": address.lower()}).one_or_none()
    if found is None:
        connection.execute(_NAME, _named(account, address))
        found = connection.execute(_STANDING, {"account": account, "address": address.lower()}).one()
    return Standing(found.id, state_of(found, has_declined=found.has_declined))


def forget_contact(session: Session, account: UUID, address: str) -> None:
    """For a webhook that does not name the address any more. Nothing is kept of one that no webhook names, and about
    which nobody has said anything and no mail was sent."""
    session.execute(_FORGET, {"account": account, "address": address.lower()})


def find_recipient(session: Session, identifier: UUID, *, account: Account | None = None) -> RecipientRecord:
    """In any account if `account` is None. Raises NotFound."""
    recipient = session.get(Recipient, identifier, populate_existing=True)
    if recipient is None or (account is not None and recipient.account_id != account.id):
        raise NotFound("contact", identifier)
    return _records(session, recipient.account_id, [recipient])[0]


def list_recipients(
    session: Session, account: Account, *, address: str | None = None, before: UUID | None = None, limit: int
) -> Sequence[RecipientRecord]:
    """The account's addresses, newest first; `before` is the last id of the previous page."""
    wanted, _, order = along({Recipient.account_id: account.id}, Recipient.id, before=before)
    query = select(Recipient).where(*wanted).order_by(*order)
    if address is not None:  # there is one at most
        query = query.where(Recipient.address == address.lower())
    found = session.scalars(query.limit(limit)).all()
    return _records(session, account.id, found)


def confirm(session: Session, identifier: UUID, *, by: Actor) -> Recipient:
    """From the commit on the address gets its mails, also those that were held back for it; the caller then wakes
    `NOTICES`. Confirming it again changes nothing. Raises NotFound."""
    recipient = _locked(session, identifier)
    if state_of(recipient) is ContactState.CONFIRMED:
        return recipient
    session.execute(_of_mailbox(recipient).values(unsubscribed_at=None, unsubscribed_by=None))
    recipient.confirmed_at, recipient.confirmed_by = func.now(), told(by)
    session.flush()
    if by.kind is ActorKind.CONTACT:
        session.execute(update(Contact).where(Contact.mailbox == recipient.mailbox).values(declined_at=None))
    _release_held(session, recipient.account_id, recipient.mailbox)
    return _noted(session, recipient, by, Action.CONTACT_CONFIRMED)


def unsubscribe(session: Session, identifier: UUID, *, by: Actor) -> Recipient:
    """From the commit on the mailbox gets no mail for this account, however it is spelt. A person whom nobody had asked
    before also gets none for any other account that they have not confirmed. Doing it again changes nothing. Raises
    NotFound."""
    recipient = _locked(session, identifier)
    before = state_of(recipient)
    if before is ContactState.UNSUBSCRIBED:
        return recipient
    ended = {"unsubscribed_at": func.now(), "unsubscribed_by": told(by), "confirmed_at": None, "confirmed_by": None}
    session.execute(_of_mailbox(recipient).values(ended))
    if before is ContactState.UNCONFIRMED and by.kind is ActorKind.CONTACT:
        declined = insert(Contact).values(mailbox=recipient.mailbox, declined_at=func.now())
        later = {"declined_at": func.coalesce(Contact.declined_at, func.now())}
        session.execute(declined.on_conflict_do_update(index_elements=[Contact.mailbox], set_=later))
    return _noted(session, recipient, by, Action.CONTACT_UNSUBSCRIBED)


def _noted(session: Session, recipient: Recipient, by: Actor, action: Action) -> Recipient:
    audit.write(session, by, action, recipient.id, account=recipient.account_id, detail={})
    session.refresh(recipient)
    return recipient


def _locked(session: Session, identifier: UUID) -> Recipient:
    recipient = session.get(Recipient, identifier, with_for_update=True, populate_existing=True)
    if recipient is None:
        raise NotFound("contact", identifier)
    return recipient


def _of_mailbox(recipient: Recipient) -> Any:
    wanted = Recipient.account_id == recipient.account_id, Recipient.mailbox == recipient.mailbox
    return update(Recipient).where(*wanted).execution_options(synchronize_session=False)


def _named(account: UUID, address: str) -> dict[str, object]:
    return {"account": account, "address": address.lower(), "mailbox": mailbox(address)}


def _release_held(session: Session, account: UUID, box: str) -> None:
    session.execute(_RELEASE_HELD, {"account": account, "mailbox": box})


def _records(session: Session, account: UUID, recipients: Sequence[Recipient]) -> list[RecipientRecord]:
    addresses = {"account": account, "addresses": [one.address for one in recipients]}
    own = [one.mailbox for one in recipients]
    mailboxes = sorted(set(own))
    naming = {row.address: row.number for row in session.execute(_NAMING, addresses)}
    held = {row.address: row.number for row in session.execute(_HELD, addresses | {"mailboxes": own})}
    declined = set(session.scalars(select(Contact.mailbox).where(Contact.mailbox.in_(mailboxes), _HAS_DECLINED)))
    return [
        RecipientRecord(one, one.mailbox in declined, naming.get(one.address, 0), held.get(one.address, 0))
        for one in recipients
    ]


_HAS_DECLINED = Contact.declined_at.is_not(None)

# What the owner of the mailbox has said holds for each new spelling of it.
_INSERT = f"""
INSERT INTO dispatcher.recipients AS r
  (id, account_id, address, mailbox, unsubscribed_at, unsubscribed_by, confirmed_at, confirmed_by)
SELECT {NEW_ID}, :account, :address, :mailbox, u.unsubscribed_at, u.unsubscribed_by, %s
FROM (SELECT 1) one LEFT JOIN (
  SELECT unsubscribed_at, unsubscribed_by FROM dispatcher.recipients
  WHERE account_id = :account AND mailbox = :mailbox AND unsubscribed_at IS NOT NULL LIMIT 1) u ON true
ON CONFLICT (account_id, address) DO
"""  # noqa: S608 - composed of constants
_NAME = text(f"{_INSERT % 'NULL, NULL'} NOTHING")
_IS_NEW = "CASE WHEN u.unsubscribed_at IS NULL THEN now() END, CASE WHEN u.unsubscribed_at IS NULL THEN :by END"
_NAME_CONFIRMED = text(f"""
{_INSERT % _IS_NEW}
UPDATE SET confirmed_at = now(), confirmed_by = excluded.confirmed_by
WHERE r.unsubscribed_at IS NULL AND r.confirmed_at IS NULL
RETURNING confirmed_at
""")

_STANDING = text("""
SELECT r.id, r.confirmed_at, r.unsubscribed_at, c.declined_at IS NOT NULL AS has_declined
FROM dispatcher.recipients r LEFT JOIN dispatcher.contacts c ON c.mailbox = r.mailbox
WHERE r.account_id = :account AND r.address = :address
""")

_IS_NAMED = """
SELECT 1 FROM dispatcher.webhooks w
WHERE w.account_id = :account AND w.deleted_at IS NULL AND lower(w.contact_email) = :address
"""
_FORGET = text(f"""
DELETE FROM dispatcher.recipients r
WHERE account_id = :account AND address = :address AND unsubscribed_at IS NULL AND confirmed_at IS NULL
  AND last_sent_at IS NULL AND NOT EXISTS ({_IS_NAMED})
""")  # noqa: S608 - composed of constants

# Also those that came while the address was unsubscribed: no mail was sent about them. A worker that has locked one may
# wait for what the caller has locked: that one is left out, and comes with the next mail.
_RELEASE_HELD = text("""
UPDATE dispatcher.notices SET due_at = now(), last_sent_at = CASE WHEN due_at IS NOT NULL THEN last_sent_at END
WHERE id = ANY(ARRAY(
  SELECT n.id FROM dispatcher.notices n JOIN dispatcher.webhooks w ON w.id = n.webhook_id
  WHERE n.held_for = :mailbox AND n.claimed_until IS NULL AND w.account_id = :account
  ORDER BY n.id LIMIT 10000 FOR UPDATE OF n SKIP LOCKED))
""")

_NAMING = text("""
SELECT lower(contact_email) AS address, count(*) AS number FROM dispatcher.webhooks
WHERE account_id = :account AND deleted_at IS NULL AND lower(contact_email) = ANY(:addresses) GROUP BY 1
""")
# Each along the index of notices that are held back: others whose mailbox it is have any number of them.
_HELD = text(f"""
SELECT r.address, (
  SELECT count(*) FROM (
    SELECT FROM dispatcher.webhooks w JOIN dispatcher.notices n ON n.webhook_id = w.id AND n.held_for = r.mailbox
    WHERE w.account_id = :account AND w.deleted_at IS NULL AND lower(w.contact_email) = r.address
    LIMIT {MOST_HELD}) h) AS number
FROM unnest(CAST(:addresses AS text[]), CAST(:mailboxes AS text[])) AS r(address, mailbox)
""")  # noqa: S608 - composed of constants
