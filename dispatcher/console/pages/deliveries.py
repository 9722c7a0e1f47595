"""`/deliveries` and `/deliveries/{id}`: what was discarded, and why; and sending one again, or cancelling it."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.owners import accounts_of_webhooks, owner_of_delivery, owner_of_webhook
from dispatcher.console.cards import Shown, cards_of, names_for
from dispatcher.console.cookies import zone_of
from dispatcher.console.frame import Cursor, Managing, Pages, Problems, Reading, read_cursor
from dispatcher.console.moments import read_moment
from dispatcher.console.pages.events import chosen_webhook
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.view import View
from dispatcher.deliveries.history import get_delivery, list_deliveries
from dispatcher.deliveries.redelivery import cancel, send_at_once
from dispatcher.errors import Conflict, InvalidFilter, UnknownAccount
from dispatcher.states import Reason, State
from dispatcher.web.ownership import owner_for
from dispatcher.web.problems import problem_of
from dispatcher.webhooks.store import Webhooks

PAGE, ATTEMPTS = 50, 20

pages = Pages()


@pages.get("/deliveries")
def get_deliveries(
    *,
    view: Reading,
    account: TextQuery = "",
    webhook: TextQuery = "",
    state: Annotated[State | Literal[""], Query()] = "",
    reason: Annotated[Reason | Literal[""], Query()] = "",
    since: TextQuery = "",
    until: TextQuery = "",
    cursor: Cursor = None,
) -> Response:
    filters = {"account": account, "webhook": webhook, "state": state, "reason": reason, "since": since, "until": until}
    given: dict[str, Any] = {"filters": filters, "problems": None, "lines": [], "accounts": {}, "cursor": cursor}
    zone = zone_of(view.request)
    with view.transaction() as session:
        try:
            named = view.caller.account or account
            owner = find_account(session, named) if named else None
            to = chosen_webhook(session, owner.id if owner is not None else None, webhook) if webhook else None
            if to is not None and owner is None:
                owner = owner_of_webhook(session, to)
            page = list_deliveries(
                session,
                owner,
                webhook=to,
                state=state or None,
                reason=reason or None,
                since=read_moment("since", since, zone),
                until=read_moment("until", until, zone),
                before=read_cursor(cursor),
                limit=PAGE,
            )
            shown = {line.webhook_id for line in page.deliveries}
            accounts = accounts_of_webhooks(session, shown) if view.is_console else {}
        except UnknownAccount:
            unknown = Problems({"account": "is not known here"})
            return view.refused("deliveries.html", None, **given | {"problems": unknown})
        except InvalidFilter as error:
            return view.refused("deliveries.html", None, **given | {"problems": Problems.of(error)})
    return view.page("deliveries.html", before=page.before, **given | {"lines": page.deliveries, "accounts": accounts})


@pages.get("/deliveries/{delivery_id}")
def get_one_delivery(
    view: Reading, delivery_id: UUID, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> Response:
    with view.transaction() as session:
        owner = owner_for(session, view.caller, owner_of_delivery, delivery_id)
        record = get_delivery(session, owner, delivery_id, before=before, limit=ATTEMPTS)
        line = record.delivery
        webhook = Webhooks(session, view.installation).get(owner, line.webhook_id, deleted=True)
        attempts = {line.id: (webhook, record.attempts[::-1])}
        shown = Shown(owner, record.event, record.data, names_for(view))
        (card,) = cards_of(session, view, shown, attempts, lines=[line], most=ATTEMPTS)
        return view.page("delivery.html", card=card, earlier=record.before, account=owner.name)


@pages.get("/deliveries/{delivery_id}/send")
def get_send(view: Managing, delivery_id: UUID) -> Response:
    return _ask(view, delivery_id, "delivery_send.html")


@pages.post("/deliveries/{delivery_id}/send")
def post_send(view: Managing, delivery_id: UUID) -> Response:
    view.serving.rates.check_stored(view.caller)
    try:
        with view.transaction() as session:
            owner = owner_for(session, view.caller, owner_of_delivery, delivery_id)
            line = get_delivery(session, owner, delivery_id, limit=1).delivery
            send_at_once(session, owner, delivery_id, view.installation.timing, by=view.by)
    except Conflict as error:
        return _ask(view, delivery_id, "delivery_send.html", Problems.of(problem_of(error)))
    view.installation.waker.wake()
    return view.goto(f"/events/{line.event_id}", delivery=delivery_id, done="redelivered")


@pages.get("/deliveries/{delivery_id}/cancel")
def get_cancel(view: Managing, delivery_id: UUID) -> Response:
    return _ask(view, delivery_id, "delivery_cancel.html")


@pages.post("/deliveries/{delivery_id}/cancel")
def post_cancel(view: Managing, delivery_id: UUID) -> Response:
    try:
        with view.transaction() as session:
            owner = owner_for(session, view.caller, owner_of_delivery, delivery_id)
            line = get_delivery(session, owner, delivery_id, limit=1).delivery
            cancel(session, owner, delivery_id, by=view.by)
    except Conflict as error:
        return _ask(view, delivery_id, "delivery_cancel.html", Problems.of(problem_of(error)))
    if line.event_type is None:
        return view.goto(f"/deliveries/{delivery_id}", done="cancelled")
    return view.goto(f"/events/{line.event_id}", delivery=delivery_id, done="cancelled")


def _ask(view: View, delivery_id: UUID, template: str, problems: Problems | None = None) -> Response:
    """The question before a change; after one that was refused, why."""
    with view.transaction() as session:
        owner = owner_for(session, view.caller, owner_of_delivery, delivery_id)
        record = get_delivery(session, owner, delivery_id, limit=1)
        shown = Shown(owner, record.event, None, names_for(view))
        (card,) = cards_of(session, view, shown, {}, lines=[record.delivery], most=1)
        line = card.line
        back = f"/events/{line.event_id}" if line.event_type else f"/deliveries/{line.id}"
        given: dict[str, Any] = {"card": card, "back": back, "account": owner.name}
        return view.refused(template, None, problems, **given) if problems else view.page(template, **given)
