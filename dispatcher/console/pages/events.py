"""`/events` and `/events/{id}`: what became of a message, why it was not delivered, and sending it once more."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.owners import owner_of_event
from dispatcher.console.cards import BY_NEED, Shown, cards_of, names_for
from dispatcher.console.cookies import zone_of
from dispatcher.console.frame import Cursor, Given, Managing, Pages, Problems, Reading, Session, read_cursor
from dispatcher.console.json_lines import indented
from dispatcher.console.moments import read_moment
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.view import View
from dispatcher.deliveries.history import attempts_of, list_deliveries
from dispatcher.deliveries.records import EventLine, EventPage
from dispatcher.deliveries.redelivery import send_to
from dispatcher.errors import Conflict, InvalidFilter, InvalidInput, UnknownAccount
from dispatcher.events.history import accounts_with, find_event, get_event_line, list_events, reveal, standings
from dispatcher.states import CLOSED, State
from dispatcher.web.ownership import owner_for
from dispatcher.web.problems import Problem, problem_of
from dispatcher.web.quotas import WRITE
from dispatcher.webhooks.explanation.reading import explain_stored_event
from dispatcher.webhooks.finding import named
from dispatcher.webhooks.store import Webhooks

PAGE = 50
DELIVERIES, ATTEMPTS = 20, 10  # of an event; of each of these
MESSAGE = 16_000  # characters
CHOICES = 100  # webhooks in a list to choose from

pages = Pages()

StandingQuery = Annotated[Literal["", "unmatched"], Query()]


@dataclass(frozen=True, slots=True)
class Line:
    """An event in a list. `state` is the one that needs a look before all others; None: no webhook took it."""

    event: EventLine
    account: str
    state: State | None
    delivered: int
    of: int
    is_complete: bool  # False: not all of its deliveries were counted


@pages.get("/events")
def get_events(
    *,
    view: Reading,
    account: TextQuery = "",
    event_type: Annotated[TextQuery, Query(alias="type")] = "",
    subject: TextQuery = "",
    app: TextQuery = "",
    state: StandingQuery = "",
    since: TextQuery = "",
    until: TextQuery = "",
    cursor: Cursor = None,
) -> Response:
    filters = {"account": account, "type": event_type, "subject": subject, "app": app, "state": state}
    filters |= {"since": since, "until": until}
    given: dict[str, Any] = {"filters": filters, "problems": None, "accounts": [], "lines": [], "cursor": cursor}
    zone = zone_of(view.request)
    with view.transaction() as session:
        try:
            named = view.caller.account or account
            if subject and not named:  # the list of all accounts has no index by subject
                given["accounts"] = accounts_with(session, subject)
                if len(given["accounts"]) != 1:
                    return view.page("events.html", before=None, **given)
                (named,) = given["accounts"]
            page = list_events(
                session,
                find_account(session, named) if named else None,
                subject=subject or None,
                event_type=event_type or None,
                app=app or None,
                since=read_moment("since", since, zone),
                until=read_moment("until", until, zone),
                undelivered=state == "unmatched",
                before=read_cursor(cursor),
                limit=PAGE,
            )
        except UnknownAccount:
            unknown = Problems({"account": "is not known here"})
            return view.refused("events.html", None, **given | {"problems": unknown})
        except InvalidFilter as error:
            return view.refused("events.html", None, **given | {"problems": Problems.of(error)})
        lines = _lines(session, page)
        return view.page("events.html", before=page.before, **given | {"lines": lines})


def _lines(session: Session, page: EventPage) -> list[Line]:
    found = standings(session, [event.id for event in page.events])
    return [_line(event, found[event.id].account, found[event.id].states) for event in page.events if event.id in found]


def _line(event: EventLine, account: str, states: Mapping[State, int]) -> Line:
    counted = sum(states.values())
    state = next((state for state in BY_NEED if state in states), None)
    of = max(counted, event.delivery_count)
    return Line(event, account, state, states.get(State.DELIVERED, 0), of, counted >= event.delivery_count)


@pages.get("/events/{event_id}")
def get_event(view: Reading, event_id: UUID, cursor: Cursor = None, delivery: UUID | None = None) -> Response:
    """`delivery`: the one that is asked about comes first."""
    return _event_page(view, event_id, cursor, first=delivery)


@pages.post("/events/{event_id}/reveal")
def post_reveal(view: Reading, event_id: UUID) -> Response:
    """Not a change, so `Reading`: but who may, and that it was done, is asked and written, and counted as a change."""
    if not view.may_see_secrets:
        raise Problem(HTTPStatus.FORBIDDEN, "you may see messages here only as they are masked")
    view.serving.rates.spend(view.caller, WRITE)
    with view.transaction() as session:
        reveal(session, owner_for(session, view.caller, owner_of_event, event_id), event_id, by=view.by)
    return _event_page(view, event_id, None, revealed=True)


def _event_page(
    view: View, event_id: UUID, cursor: str | None, *, first: UUID | None = None, revealed: bool = False
) -> Response:
    with view.transaction() as session:
        owned = find_event(session, view.caller.account_id, event_id)
        event, account = owned.event, owned.account
        page = list_deliveries(session, account, event=event_id, before=read_cursor(cursor), limit=DELIVERIES)
        attempts = attempts_of(session, [line.id for line in page.deliveries], limit=ATTEMPTS)
        shown = Shown(account, event, owned.data, names_for(view, revealed=revealed))
        cards = cards_of(session, view, shown, attempts, lines=page.deliveries, most=ATTEMPTS, first=first)
        is_told = event.erased or not event.delivery_count
        masked, whole = shown.message, owned.data
        message, is_cut = indented(masked.decode(errors="replace"), MESSAGE) if masked is not None else (None, False)
        return view.page(
            "event.html",
            before=page.before,
            cursor=cursor,
            event=event,
            account=account.name,
            line=_line(event, account.name, owned.states),
            states=[(state, owned.states[state]) for state in BY_NEED if state in owned.states],
            sentences=explain_stored_event(session, account, event, owned.states) if is_told else [],
            cards=cards,
            is_open=not revealed and any(state not in CLOSED for state in owned.states),
            message=message,
            is_cut=is_cut,
            is_masked=masked != whole,
            is_revealed=revealed,
            size=len(whole) if whole is not None else 0,
        )


@pages.get("/events/{event_id}/send")
def get_send(view: Managing, event_id: UUID) -> Response:
    with view.transaction() as session:
        return view.page("event_send.html", form=None, problems=None, **_sending(view, session, event_id))


@pages.post("/events/{event_id}/send")
def post_send(view: Managing, event_id: UUID, form: Given) -> Response:
    view.serving.rates.check_stored(view.caller)
    try:
        with view.transaction() as session:
            owner = owner_for(session, view.caller, owner_of_event, event_id)
            webhook = chosen_webhook(session, owner.id, form["webhook"])
            sent = send_to(session, owner, event_id, webhook, view.installation.timing, by=view.by)
            if not sent.is_opened:
                raise Problem(HTTPStatus.CONFLICT, "it is on its way to this webhook already")
    except (InvalidInput, Conflict, Problem) as error:
        problems = Problems.of(error if isinstance(error, InvalidInput) else problem_of(error))
        with view.transaction() as session:
            return view.refused("event_send.html", form, problems, **_sending(view, session, event_id))
    view.installation.waker.wake()
    return view.goto(f"/events/{event_id}", delivery=sent.delivery_id, done="redelivered")


def _sending(view: View, session: Session, event_id: UUID) -> dict[str, Any]:
    owner = owner_for(session, view.caller, owner_of_event, event_id)
    event = get_event_line(session, owner, event_id)
    webhooks, older = Webhooks(session, view.installation).page(owner, limit=CHOICES)
    fits = [each for each in webhooks if each.enabled and each.app in {None, event.app}]
    return {"event": event, "back": f"/events/{event_id}", "webhooks": fits, "has_more": older is not None}


def chosen_webhook(session: Session, account: UUID | None, given: str) -> UUID:
    """The webhook with this id, or else with this name, in an account or in all (None). Raises InvalidFilter."""
    try:
        return UUID(given)
    except ValueError:
        found = named(session, given, account)
    match found:
        case [webhook]:
            return webhook.id
        case []:
            raise InvalidFilter("webhook", "is not known here")
        case _:
            raise InvalidFilter("webhook", "is in several accounts: choose one of them")
