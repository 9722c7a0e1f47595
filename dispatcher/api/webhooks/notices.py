"""`GET /v1/notices`: the mails to contacts about problems."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dispatcher.web.authentication import Reader
from dispatcher.web.ownership import AccountQuery, account_of
from dispatcher.web.pagination import Cursor, Limit, Page, page_of, read_cursor
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served
from dispatcher.webhooks.notices import NoticeKind, NoticeRecord, list_notices
from schedules.quiet_period import QUIET_PERIOD

router = APIRouter(prefix="/v1", tags=["notices"])


class NoticeDocument(BaseModel):
    """One error of one webhook, and the mails about it: at most one in 24 hours."""

    id: UUID
    webhook_id: UUID
    webhook_name: str | None
    webhook_deleted: bool
    kind: NoticeKind
    error: Annotated[str, Field(description="`http_` and the status, or the kind of failure.")]
    observed_at: Annotated[datetime, Field(description="When the error that the mail reports was seen.")]
    delivery_id: Annotated[UUID, Field(description="The delivery that the mail reports.")]
    request_id: UUID | None
    retry_at: Annotated[datetime | None, Field(description="When that delivery is retried, as the mail says.")]
    contact: Annotated[str | None, Field(description="The webhook's current contact; null: no mail is sent.")]
    sent_count: int
    last_sent_at: Annotated[datetime | None, Field(description="When the last mail was handed to the mail server.")]
    suppressed_count: Annotated[int, Field(description="How often the error was seen since then, without a mail.")]
    next_mail_at: Annotated[
        datetime | None, Field(description="When the pending mail is sent; null if none is pending.")
    ]
    held_back: Annotated[
        bool, Field(description="The mail waits because its contact or webhook gets too many at once.")
    ]
    quiet_until: Annotated[datetime | None, Field(description="The error causes no other mail before this time.")]


@router.get(
    "/notices",
    operation_id="list_notices",
    summary="List notices, newest errors first",
    description="There is one notice for each webhook, kind of mail and error.",
    responses=usual_problems(),
)
def get_notices(
    *,
    caller: Reader,
    installation: Served,
    account: AccountQuery = None,
    webhook: Annotated[UUID | None, Query(description="Of this webhook.")] = None,
    kind: Annotated[NoticeKind | None, Query(description="Of this kind.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[NoticeDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        owner = account_of(session, caller, account)
        found = list_notices(session, owner, webhook=webhook, kind=kind, before=before, limit=limit + 1)
    page, following = page_of(found, limit, lambda record: record.notice.id)
    return Page(items=[_document(record) for record in page], next=following)


def _document(record: NoticeRecord) -> NoticeDocument:
    notice = record.notice
    return NoticeDocument(
        id=notice.id,
        webhook_id=notice.webhook_id,
        webhook_name=record.webhook_name,
        webhook_deleted=record.webhook_deleted,
        kind=NoticeKind(notice.kind),
        error=notice.fingerprint,
        observed_at=notice.observed_at,
        delivery_id=notice.delivery_id,
        request_id=notice.request_id,
        retry_at=notice.retry_at,
        contact=record.contact,
        sent_count=notice.sent_count,
        last_sent_at=notice.last_sent_at,
        suppressed_count=notice.suppressed_count,
        next_mail_at=notice.due_at,
        held_back=notice.held_for is not None,
        quiet_until=notice.last_sent_at + QUIET_PERIOD if notice.last_sent_at else None,
    )
