"""Notices to contacts: their kinds, and an account's stored notices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.accounts.contact_states import ContactState
from dispatcher.accounts.recipients import state_of
from dispatcher.db.models import Account, Notice, Recipient, Webhook
from dispatcher.db.of_webhooks import Source, page_of_webhooks
from dispatcher.db.pages import BEYOND, FIRST
from dispatcher.errors import NotFound


class NoticeKind(StrEnum):
    """What a mail is about."""

    MESSAGE_RETRYING = "message_retrying"
    MESSAGE_DISCARDED = "message_discarded"
    WEBHOOK_DISABLED = "webhook_disabled"


@dataclass(frozen=True, slots=True)
class NoticeRecord:
    """A notice with what is needed to recognise its webhook."""

    notice: Notice
    webhook_name: str | None
    contact: str | None  # as it is now
    contact_state: ContactState | None
    webhook_deleted: bool


def list_notices(
    session: Session,
    account: Account,
    *,
    webhook: UUID | None = None,
    kind: NoticeKind | None = None,
    quarantined: bool | None = None,
    before: UUID | None = None,
    limit: int,
) -> tuple[Sequence[NoticeRecord], UUID | None]:
    """A page of the account's notices, including those of deleted webhooks, by when their error was first seen, newest
    first, and the `before` of the next page (None: there is none). With a filter other than `webhook` it is made from
    the next 10,000, and can be short or empty although there are older ones. Raises InvalidFilter for an account with
    very many webhooks."""
    fits = [f"d.kind = '{kind}'"] if kind is not None else []
    if quarantined is not None:
        fits.append(f"d.quarantined_at IS {'NOT ' if quarantined else ''}NULL")
    source = Source("dispatcher.notices", {}, "true", ("kind", "quarantined_at"), fits)
    given = {"account": account.id, "webhook": webhook, "first": FIRST, "end": before or BEYOND}
    ids, older = page_of_webhooks(session, source, given, limit)
    query = _OF_WEBHOOKS.where(Notice.id.in_(ids)).order_by(Notice.id.desc())
    return [_record(*row) for row in session.execute(query)], older


def release_notice(session: Session, account: Account, identifier: UUID, *, by: Actor) -> NoticeRecord:
    """Makes the mail of a quarantined notice due again; another one stays as it is. The caller commits, then wakes
    `NOTICES`. Raises NotFound."""
    wanted = Notice.id == identifier, Webhook.id == Notice.webhook_id, Webhook.account_id == account.id
    found = session.scalar(select(Notice).where(*wanted).with_for_update(of=Notice))
    if found is None:
        raise NotFound("notice", identifier)
    if found.quarantined_at is not None:
        audit.write(
            session,
            by,
            Action.NOTICE_RELEASED,
            identifier,
            account=account.id,
            detail={"quarantined_reason": found.quarantined_reason},
        )
        due = func.coalesce(Notice.due_at, func.now())
        released = {"quarantined_at": None, "quarantined_reason": None, "due_at": due}
        session.execute(update(Notice).where(Notice.id == identifier).values(released))
        session.refresh(found)
    return _record(*session.execute(_OF_WEBHOOKS.where(Notice.id == identifier)).one())


_OF_WEBHOOKS = (
    select(Notice, Webhook.name, Webhook.contact_email, Webhook.deleted_at, Recipient)
    .join(Webhook, Webhook.id == Notice.webhook_id)
    .outerjoin(
        Recipient,
        and_(
            Recipient.account_id == Webhook.account_id,
            Recipient.address == func.lower(Webhook.contact_email),
        ),
    )
)


def _record(
    notice: Notice, name: str | None, contact: str | None, deleted_at: datetime | None, recipient: Recipient | None
) -> NoticeRecord:
    # One that an older version has entered is not known yet.
    state = state_of(recipient) if recipient is not None else ContactState.UNCONFIRMED
    return NoticeRecord(notice, name, contact, state if contact is not None else None, deleted_at is not None)
