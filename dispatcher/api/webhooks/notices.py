"""`/v1/notices`: the mails to contacts about problems."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from dispatcher.accounts.actor import Actor
from dispatcher.accounts.api_keys import Caller
from dispatcher.accounts.owners import owner_of_notice
from dispatcher.installation import Installation
from dispatcher.transport.told import told_kind
from dispatcher.wake import NOTICES
from dispatcher.web.authentication import By, Manager, Reader
from dispatcher.web.ownership import AccountQuery, account_of, owner_for
from dispatcher.web.pagination import Cursor, Limit, Page, read_cursor, write_cursor
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served
from dispatcher.webhooks.notices import NoticeKind, NoticeRecord, list_notices, release_notice
from schedules.quiet_period import QUIET_PERIOD

router = APIRouter(prefix="/v1", tags=["notices"])


_KINDS = ", ".join(f"`{kind}`" for kind in NoticeKind)


class NoticeDocument(BaseModel):
    """One error of one webhook, and the mails about it: at most one in 24 hours."""

    id: UUID
    webhook_id: UUID
    webhook_name: str | None
    webhook_deleted: bool
    kind: Annotated[str, Field(description=f"{_KINDS}; a newer version may have others.")]
    error: Annotated[str, Field(description="`http_` and the status, or the kind of failure.")]
    observed_at: Annotated[datetime, Field(description="When the error that the mail reports was seen.")]
    delivery_id: Annotated[UUID, Field(description="The delivery that the mail reports.")]
    request_id: UUID | None
    retry_at: Annotated[datetime | None, Field(description="When that delivery is retried, as the mail says.")]
    contact: Annotated[str | None, Field(description="The webhook's current contact; null: no mail is sent.")]
    contact_state: Annotated[
        str | None, Field(description="Whether the contact wants mails, as in `list_contacts`; null: there is none.")
    ]
    sent_count: int
    last_sent_at: Annotated[datetime | None, Field(description="When the last mail was handed to the mail server.")]
    suppressed_count: Annotated[int, Field(description="How often the error was seen since then, without a mail.")]
    next_mail_at: Annotated[
        datetime | None, Field(description="When the pending mail is sent; null if none is pending.")
    ]
    held_back: Annotated[
        bool,
        Field(
            description="The mail waits: its contact, webhook or account has too many at once, or the "
            "contact is not confirmed or has unsubscribed."
        ),
    ]
    quarantined_at: Annotated[
        datetime | None, Field(description="Since when it is put aside, because no mail could be made of it.")
    ]
    quarantined_reason: str | None
    quiet_until: Annotated[datetime | None, Field(description="The error causes no other mail before this time.")]


@router.get(
    "/notices",
    operation_id="list_notices",
    summary="List notices, newest errors first",
    description="There is one notice for each webhook, kind of mail and error. With `kind` or `quarantined` a page may "
    "search the next 10,000 notices only, so it can be short while `next` is not null.",
    responses=usual_problems(),
)
def get_notices(
    *,
    caller: Reader,
    installation: Served,
    account: AccountQuery = None,
    webhook: Annotated[UUID | None, Query(description="Of this webhook.")] = None,
    kind: Annotated[NoticeKind | None, Query(description="Of this kind.")] = None,
    quarantined: Annotated[bool | None, Query(description="Only quarantined ones, or only others.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[NoticeDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        owner = account_of(session, caller, account)
        found, older = list_notices(
            session, owner, webhook=webhook, kind=kind, quarantined=quarantined, before=before, limit=limit
        )
        items = [_document(record, caller) for record in found]
    return Page(items=items, next=write_cursor(older))


@router.post(
    "/notices/{notice_id}/release",
    operation_id="release_notice",
    summary="Release a quarantined notice",
    description="Its mail is due at once, unless its error was seen more than a day ago. A notice that is not "
    "quarantined stays as it is.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def post_release(
    caller: Manager,
    installation: Served,
    by: By,
    notice_id: Annotated[UUID, Path(description="The notice's id.")],
) -> NoticeDocument:
    return _document(release_quarantined(installation, caller, notice_id, by=by), caller)


def release_quarantined(installation: Installation, caller: Caller, notice_id: UUID, *, by: Actor) -> NoticeRecord:
    """Releases the notice, and wakes whoever sends its mail. Raises NotFound."""
    with installation.transaction() as session:
        owner = owner_for(session, caller, owner_of_notice, notice_id)
        record = release_notice(session, owner, notice_id, by=by)
    installation.waker.wake(NOTICES)
    return record


def _document(record: NoticeRecord, caller: Caller) -> NoticeDocument:
    notice = record.notice
    error = notice.fingerprint
    return NoticeDocument(
        id=notice.id,
        webhook_id=notice.webhook_id,
        webhook_name=record.webhook_name,
        webhook_deleted=record.webhook_deleted,
        kind=notice.kind,
        error=error if caller.sees_all else told_kind(error),
        observed_at=notice.observed_at,
        delivery_id=notice.delivery_id,
        request_id=notice.request_id,
        retry_at=notice.retry_at,
        contact=record.contact,
        contact_state=record.contact_state,
        sent_count=notice.sent_count,
        last_sent_at=notice.last_sent_at,
        suppressed_count=notice.suppressed_count,
        next_mail_at=notice.due_at,
        held_back=notice.held_for is not None,
        quarantined_at=notice.quarantined_at,
        quarantined_reason=notice.quarantined_reason,
        quiet_until=notice.last_sent_at + QUIET_PERIOD if notice.last_sent_at else None,
    )
