"""`/search`: from whatever somebody has (an id, a name, a subject) to the page that is about it."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.owners import owner_of_delivery, owner_of_event, owner_of_webhook
from dispatcher.console.frame import Pages, Reading, Session
from dispatcher.console.view import View
from dispatcher.deliveries.history import get_delivery
from dispatcher.errors import InvalidFilter, NotFound
from dispatcher.events.history import accounts_with, list_events
from dispatcher.webhooks.explanation.reading import Kind, find
from dispatcher.webhooks.finding import named

pages = Pages()


@pages.get("/search")
def get_search(view: Reading, q: Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")] = "") -> Response:
    wanted = q.strip()
    with view.transaction() as session:
        identifier = _id(wanted)
        path = _page_of(session, view, identifier) if identifier is not None else None
        found = [] if identifier is not None else _named(session, view, wanted)
        if len(found) == 1:
            path = f"/webhooks/{found[0].id}"
        elif identifier is None and not found and wanted:
            if view.is_console and _is_account(session, wanted):
                return view.goto("/webhooks", account=wanted)
            path = _only_event(session, view, wanted)
            return view.goto(path) if path is not None else view.goto("/events", subject=wanted)
        return view.goto(path) if path is not None else view.page("search.html", wanted=wanted, found=found)


def _named(session: Session, view: View, name: str) -> Sequence[Any]:
    return named(session, name, view.caller.account_id) if name else []


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _page_of(session: Session, view: View, identifier: UUID) -> str | None:
    """The page of what this is the id of. None, also for what is not the caller's to see: there must be no
    difference."""
    try:
        found = find(session, identifier)
    except NotFound:
        return None
    match found.kind:
        case Kind.WEBHOOK:
            path, owner = f"/webhooks/{identifier}", owner_of_webhook(session, identifier)
        case Kind.EVENT:
            path, owner = f"/events/{identifier}", owner_of_event(session, identifier)
        case _:
            delivery = identifier if found.kind is Kind.DELIVERY else next(iter(found.deliveries), None)
            if delivery is None:
                return None
            owner = owner_of_delivery(session, delivery)
            line = get_delivery(session, owner, delivery, limit=1).delivery
            path = f"/events/{line.event_id}" if line.event_type is not None else f"/deliveries/{delivery}"
    return path if view.caller.account_id in {None, owner.id} else None


def _only_event(session: Session, view: View, subject: str) -> str | None:
    """The page of the event with this subject, if there is but one."""
    try:
        owners = [view.caller.account] if view.caller.account is not None else accounts_with(session, subject)
    except InvalidFilter:  # too many accounts to look into each: the list asks for one
        return None
    if len(owners) != 1:
        return None
    events = list_events(session, find_account(session, owners[0]), subject=subject, limit=2).events
    return f"/events/{events[0].id}" if len(events) == 1 else None


def _is_account(session: Session, name: str) -> bool:
    try:
        find_account(session, name)
    except NotFound:
        return False
    return True
