"""`/v1/contacts`: whom mails go to, and whether they want them."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from dispatcher.accounts.api_keys import Caller
from dispatcher.accounts.contact_states import ContactState
from dispatcher.accounts.recipients import (
    MOST_HELD,
    RecipientRecord,
    confirm,
    find_recipient,
    list_recipients,
    state_of,
    unsubscribe,
)
from dispatcher.wake import NOTICES
from dispatcher.web.authentication import By, Operator, Reader
from dispatcher.web.ownership import AccountQuery, account_of
from dispatcher.web.pagination import Cursor, Limit, Page, page_of, read_cursor
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served

router = APIRouter(prefix="/v1", tags=["notices"])

ContactId = Annotated[UUID, Path(description="The contact's id.")]
_STATES = ", ".join(f"`{state}`" for state in ContactState)


class ContactDocument(BaseModel):
    """A mail address that webhooks of the account name as their contact, or have named."""

    id: UUID
    address: Annotated[str, Field(description="In lower case.")]
    state: Annotated[
        str,
        Field(
            description=f"{_STATES}; a newer version may have others. `confirmed`: gets every notice. `unconfirmed`: "
            "gets one mail in a day, without details. `unsubscribed`: gets none. `declined`, only shown to operators: "
            "not confirmed, and gets none, because its owner has unsubscribed from mails that nobody had asked for."
        ),
    ]
    webhooks: Annotated[int, Field(description="How many name it now.")]
    confirmed_at: datetime | None
    confirmed_by: Annotated[str | None, Field(description="Who: an operator, or `the contact` by the link in a mail.")]
    unsubscribed_at: datetime | None
    unsubscribed_by: str | None
    sent_count: Annotated[int, Field(description="Mails that were handed to the mail server.")]
    last_sent_at: datetime | None
    held_back: Annotated[
        int,
        Field(
            description=f"Notices that wait for a limit, or for the contact's yes; {MOST_HELD:,} are counted at most."
        ),
    ]


@router.get(
    "/contacts",
    operation_id="list_contacts",
    summary="List contacts, newest first",
    description="The addresses that mails about the account's webhooks go to, whether they want them, and what they "
    "got.",
    responses=usual_problems(),
)
def get_contacts(
    *,
    caller: Reader,
    installation: Served,
    account: AccountQuery = None,
    address: Annotated[
        str | None, Query(max_length=254, pattern=r"^[^\x00]+$", description="With this address.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ContactDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        owner = account_of(session, caller, account)
        found = list_recipients(session, owner, address=address, before=before, limit=limit + 1)
        page, following = page_of(found, limit, lambda record: record.recipient.id)
        return Page(items=[_document(record, caller) for record in page], next=following)


@router.post(
    "/contacts/{contact_id}/confirm",
    operation_id="confirm_contact",
    summary="Confirm a contact",
    description="From now on it gets every notice, also those that were held back, even if it had unsubscribed: do it "
    "only if its owner has asked for it. A contact that is confirmed stays as it is.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def post_confirm(caller: Operator, installation: Served, by: By, contact_id: ContactId) -> ContactDocument:
    with installation.transaction() as session:
        confirm(session, contact_id, by=by)
        document = _document(find_recipient(session, contact_id), caller)
    installation.waker.wake(NOTICES)
    return document


@router.post(
    "/contacts/{contact_id}/unsubscribe",
    operation_id="unsubscribe_contact",
    summary="Unsubscribe a contact",
    description="Nothing is mailed to it for this account any more, however the address is spelt, until it is "
    "confirmed by its owner or an operator. A contact that is unsubscribed stays as it is.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def post_unsubscribe(caller: Operator, installation: Served, by: By, contact_id: ContactId) -> ContactDocument:
    with installation.transaction() as session:
        unsubscribe(session, contact_id, by=by)
        return _document(find_recipient(session, contact_id), caller)


def _document(record: RecipientRecord, caller: Caller) -> ContactDocument:
    recipient = record.recipient
    return ContactDocument(
        id=recipient.id,
        address=recipient.address,
        state=state_of(recipient, has_declined=record.has_declined and caller.sees_all),
        webhooks=record.webhooks,
        confirmed_at=recipient.confirmed_at,
        confirmed_by=recipient.confirmed_by,
        unsubscribed_at=recipient.unsubscribed_at,
        unsubscribed_by=recipient.unsubscribed_by,
        sent_count=recipient.sent_count,
        last_sent_at=recipient.last_sent_at,
        held_back=record.held_back,
    )
