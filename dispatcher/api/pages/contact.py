"""`/contact`: the page that the links in mails lead to. Opening it changes nothing, because mail scanners open links;
its button does, and so does the one-click request of RFC 8058. The link itself says who is meant: there is neither a
session nor a cookie."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from dispatcher.accounts.actor import Contact
from dispatcher.accounts.contact_states import ContactState
from dispatcher.accounts.mail_links import PATH, Link, Purpose
from dispatcher.accounts.recipients import confirm, state_of, unsubscribe
from dispatcher.api.pages.templating import headers, templates
from dispatcher.db.models import Recipient
from dispatcher.installation import Installation
from dispatcher.wake import NOTICES
from dispatcher.web.authentication import call_of
from dispatcher.web.serving import Served, Shared

_AGAIN_WITHIN = timedelta(hours=1)  # whoever has just unsubscribed can take it back

router = APIRouter(include_in_schema=False)

LinkQuery = Annotated[str, Query()]


def _given(installation: Served, link: LinkQuery = "") -> Link | None:
    read = installation.mail_links.read(link)
    return read if read is not None and read.until > datetime.now(UTC) else None


async def _in_turn(link: Annotated[Link | None, Depends(_given)], serving: Shared) -> AsyncIterator[Link | None]:
    """A dependency: the link, unless it is none or too old. One request at a time for each contact: nobody needs a key
    here, and those that wait for its row must not hold the threads that others need."""
    async with serving.reading_turns.turn(link.recipient if link is not None else None):
        yield link


ReadLink = Annotated[Link | None, Depends(_in_turn, scope="function")]


@dataclass(frozen=True, slots=True)
class _Page:
    """What the page says."""

    state: ContactState
    address: str  # masked
    asks: Purpose | None  # what its button does
    token: str | None  # that the button sends


@router.get(PATH)
def get_contact(installation: Served, read: ReadLink, link: LinkQuery = "") -> HTMLResponse:
    with installation.transaction() as session:
        recipient = _recipient(session, read)
        if read is None or recipient is None:
            return _shown(None)
        return _shown(_page(installation, recipient, read.purpose, link))


@router.post(PATH)
def post_contact(request: Request, installation: Served, read: ReadLink, link: LinkQuery = "") -> HTMLResponse:
    with installation.transaction() as session:
        recipient = _recipient(session, read)
        if read is None or recipient is None:
            return _shown(None)
        do = confirm if read.purpose is Purpose.CONFIRM else unsubscribe
        page = _page(installation, do(session, recipient.id, by=Contact(call_of(request))), read.purpose, link)
    if read.purpose is Purpose.CONFIRM:
        installation.waker.wake(NOTICES)
    return _shown(page)


def _recipient(session: Session, link: Link | None) -> Recipient | None:
    return session.get(Recipient, link.recipient) if link is not None else None


def _page(installation: Installation, recipient: Recipient, purpose: Purpose, token: str) -> _Page:
    state = state_of(recipient)
    local, _, domain = recipient.address.rpartition("@")
    address = f"{local[:1]}***@{domain}"  # links are forwarded, and stand in logs of others
    if state is not ContactState.UNSUBSCRIBED and purpose is Purpose.UNSUBSCRIBE:
        return _Page(state, address, Purpose.UNSUBSCRIBE, token)
    if state is ContactState.CONFIRMED:
        return _Page(state, address, None, None)
    again = token
    if purpose is Purpose.UNSUBSCRIBE:
        again = installation.mail_links.token(Purpose.CONFIRM, recipient.id, datetime.now(UTC) + _AGAIN_WITHIN)
    return _Page(state, address, Purpose.CONFIRM, again)


def _shown(page: _Page | None) -> HTMLResponse:
    text = templates().get_template("contact.html.j2").render(page=page)
    status = HTTPStatus.OK if page is not None else HTTPStatus.NOT_FOUND
    return HTMLResponse(text, status, headers=headers(forms="'self'"))
