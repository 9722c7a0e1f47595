"""`/notices`: was the customer told?"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import accounts_page, find_account
from dispatcher.accounts.recipients import RecipientRecord, list_recipients, state_of
from dispatcher.console.frame import Cursor, Pages, Problems, Reading, read_cursor
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.view import View
from dispatcher.errors import InvalidFilter, UnknownAccount
from dispatcher.transport.told import told_kind
from dispatcher.web.problems import problem_of
from dispatcher.webhooks.notices import NoticeKind, NoticeRecord, list_notices
from schedules.quiet_period import QUIET_PERIOD

PAGE, CONTACTS, ACCOUNTS = 50, 20, 50

pages = Pages()


@dataclass(frozen=True, slots=True)
class Line:
    """A notice in the list."""

    record: NoticeRecord
    error: str  # as whoever looks is told
    quiet_until: datetime | None


@dataclass(frozen=True, slots=True)
class ContactLine:
    """Whom mails go to, and whether they want them."""

    address: str
    state: str
    webhooks: int
    sent: int
    last_sent_at: datetime | None
    held_back: int


@pages.get("/notices")
def get_notices(
    *,
    view: Reading,
    account: TextQuery = "",
    webhook: UUID | Literal[""] = "",
    kind: Annotated[NoticeKind | Literal[""], Query()] = "",
    state: Annotated[Literal["", "quarantined"], Query()] = "",
    cursor: Cursor = None,
) -> Response:
    filters = {"account": account, "webhook": webhook, "kind": kind, "state": state}
    given: dict[str, Any] = {"filters": filters, "kinds": list(NoticeKind), "cursor": cursor}
    given |= {"lines": [], "contacts": [], "accounts": [], "are_mailed": bool(view.installation.settings.smtp_host)}
    with view.transaction() as session:
        named = view.caller.account or account
        if not named:
            given["accounts"] = [found.name for found in accounts_page(session, before=None, limit=ACCOUNTS)]
            return view.page("notices.html", problems=None, **given)
        try:
            owner = find_account(session, named)
            found, older = list_notices(
                session,
                owner,
                webhook=webhook or None,
                kind=kind or None,
                quarantined=True if state else None,
                before=read_cursor(cursor),
                limit=PAGE,
            )
        except (UnknownAccount, InvalidFilter) as error:
            return view.refused("notices.html", None, Problems.of(problem_of(error)), **given)
        given["lines"] = [_line(record, view) for record in found]
        if cursor is None:
            given["contacts"] = [_contact(record, view) for record in list_recipients(session, owner, limit=CONTACTS)]
        return view.page("notices.html", before=older, problems=None, **given)


def _line(record: NoticeRecord, view: View) -> Line:
    notice = record.notice
    error = notice.fingerprint if view.caller.sees_all else told_kind(notice.fingerprint)
    return Line(record, error, notice.last_sent_at + QUIET_PERIOD if notice.last_sent_at else None)


def _contact(record: RecipientRecord, view: View) -> ContactLine:
    recipient = record.recipient
    state = state_of(recipient, has_declined=record.has_declined and view.caller.sees_all)
    sent = recipient.sent_count, recipient.last_sent_at
    return ContactLine(recipient.address, state, record.webhooks, *sent, record.held_back)
