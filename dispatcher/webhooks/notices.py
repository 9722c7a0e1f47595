"""Notices to contacts: their kinds, and an account's stored notices."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from dispatcher.db.models import Account, Notice, Webhook


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
    webhook_deleted: bool


def list_notices(
    session: Session,
    account: Account,
    *,
    webhook: UUID | None = None,
    kind: NoticeKind | None = None,
    before: UUID | None = None,
    limit: int,
) -> Sequence[NoticeRecord]:
    """The account's notices, including those of deleted webhooks, by when their error was first seen, newest first;
    `before` is the last id of the previous page."""
    query = (
        select(Notice, Webhook.name, Webhook.contact_email, Webhook.deleted_at)
        .join(Webhook, Webhook.id == Notice.webhook_id)
        .where(Webhook.account_id == account.id)
    )
    if webhook is not None:
        query = query.where(Notice.webhook_id == webhook)
    if kind is not None:
        query = query.where(Notice.kind == kind)
    if before is not None:
        query = query.where(Notice.id < before)
    rows = session.execute(query.order_by(Notice.id.desc()).limit(limit))
    return [NoticeRecord(notice, name, contact, deleted_at is not None) for notice, name, contact, deleted_at in rows]
