"""`/contact`: the page that the links in mails lead to. Opening it changes nothing, because mail scanners open links;
its button does, and so does the one-click request of RFC 8058. The link itself says who is meant: there is neither a
session nor a cookie."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
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
from dispatcher.web.serving import Served

_AGAIN_WITHIN = timedelta(hours=1)  # whoever has just unsubscribed can take it back

router = APIRouter(include_in_schema=False)

LinkQuery = Annotated[str, Query()]


@dataclass(frozen=True, slots=True)
class _Page:
    """What the page says."""

    state: ContactState
    address: str  # masked
    asks: Purpose | None  # what its button does
    token: str | None  # that the button sends


@router.get(PATH)
def get_contact(installation: Served, link: LinkQuery = "") -> HTMLResponse:
    with installation.transaction() as session:
        read, recipient = _read(installation, session, link)
        if read is None or recipient is None:
            return _shown(None)
        return _shown(_page(installation, recipient, read.purpose, link))


@router.post(PATH)
def post_contact(request: Request, installation: Served, link: LinkQuery = "") -> HTMLResponse:
    with installation.transaction() as session:
        read, recipient = _read(installation, session, link)
        if read is None or recipient is None:
            return _shown(None)
        do = confirm if read.purpose is Purpose.CONFIRM else unsubscribe
        page = _page(installation, do(session, recipient.id, by=Contact(call_of(request))), read.purpose, link)
    if read.purpose is Purpose.CONFIRM:
        installation.waker.wake(NOTICES)
    return _shown(page)


def _read(installation: Installation, session: Session, token: str) -> tuple[Link | None, Recipient | None]:
    link = installation.mail_links.read(token)
    if link is None or link.until <= datetime.now(UTC):
        return None, None
    return link, session.get(Recipient, link.recipient)


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
