"""`/redeliveries`, `/redeliveries/{id}` and `/redeliveries/new`: sending again all that fits a filter, or all that a
webhook did not get; how far it is; and its end."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query
from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.owners import owner_of_redelivery, owner_of_webhook
from dispatcher.console.cookies import zone_of
from dispatcher.console.forms import Form
from dispatcher.console.frame import Cursor, Given, Managing, Pages, Problems, Reading, Session, read_cursor
from dispatcher.console.moments import read_moment
from dispatcher.console.pages.events import chosen_webhook
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.progress import Account, Progress, Webhook, lines_of
from dispatcher.console.view import View
from dispatcher.deliveries.bulk_redelivery import MAX_PER_SECOND, PER_SECOND, cancel, count, get, list_of, order
from dispatcher.deliveries.missing import kept_since
from dispatcher.deliveries.selection import COUNTED, Selection, replay_of
from dispatcher.errors import Conflict, InvalidFilter, InvalidInput, NotFound, UnknownAccount, WrongState
from dispatcher.states import Reason, State
from dispatcher.wake import REDELIVER
from dispatcher.web.ownership import owner_for
from dispatcher.web.problems import problem_of
from dispatcher.webhooks.store import Webhooks

PAGE = 50
MANY = 1_000  # more than these are sent only by who shows the key again, or types a name

pages = Pages()

Closed = Literal[State.DISCARDED, State.CANCELLED, State.DELIVERED]
_NAMES = {"states": "discarded", "event_type": "type"}  # of fields here, which are those of the lists


@pages.get("/redeliveries")
def get_redeliveries(
    view: Reading, account: TextQuery = "", state: Annotated[Literal["", "open"], Query()] = "", cursor: Cursor = None
) -> Response:
    filters = {"account": account, "state": state}
    with view.transaction() as session:
        named = view.caller.account or account
        try:
            owner = find_account(session, named) if named else None
        except UnknownAccount:
            unknown = Problems({"account": "is not known here"})
            return view.refused("redeliveries.html", None, unknown, filters=filters, lines=[], cursor=cursor)
        is_open, before = state == "open", read_cursor(cursor)
        found = list_of(session, owner, is_open=is_open, before=before, limit=PAGE + 1)
        lines = lines_of(session, view, found[:PAGE])
        older = found[PAGE - 1].id if len(found) > PAGE else None
        return view.page("redeliveries.html", before=older, cursor=cursor, filters=filters, problems=None, lines=lines)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for. `kind`: redeliveries of what is closed, or a replay. `state` is that of the list which
    led here. `count`: count it, and ask whether to order it."""

    account: TextQuery = ""
    webhook: TextQuery = ""
    kind: Annotated[Literal["", "replay"], Query()] = ""
    state: Annotated[Closed | Literal[""], Query()] = ""
    discarded: Annotated[bool, Query()] = False
    cancelled: Annotated[bool, Query()] = False
    delivered: Annotated[bool, Query()] = False
    reason: Annotated[Reason | Literal[""], Query()] = ""
    type: TextQuery = ""
    since: TextQuery = ""
    until: TextQuery = ""
    per_second: TextQuery = str(PER_SECOND)
    count: Annotated[bool, Query()] = False

    @property
    def states(self) -> list[State]:
        ticked = {State.DISCARDED: self.discarded, State.CANCELLED: self.cancelled, State.DELIVERED: self.delivered}
        found = [state for state, is_ticked in ticked.items() if is_ticked]
        return found if found or self.count else [self.state or State.DISCARDED]


Asking = Annotated[Asked, Depends()]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What would be ordered, and for whom."""

    owner: Account
    webhook: Webhook | None
    selection: Selection
    per_second: int

    @property
    def typed(self) -> str:
        """What who has no key types to say that they mean it."""
        return (self.webhook.name if self.webhook is not None else None) or self.owner.name


@pages.get("/redeliveries/new")
def get_new(view: Managing, asked: Asking) -> Response:
    return _question(view, asked) if asked.count else _form(view, asked)


@pages.post("/redeliveries/new")
def post_new(view: Managing, asked: Asking, form: Given) -> Response:
    view.serving.rates.check_stored(view.caller)
    defaults = view.installation.settings.default_limits
    try:
        with view.transaction() as session:
            chosen = _chosen(session, view, asked)
            pace = chosen.per_second
            ordered = order(session, chosen.owner, chosen.selection, by=view.by, per_second=pace, defaults=defaults)
            if is_many(ordered.matched, is_complete=not ordered.counting):
                view.prove()  # what is raised here undoes the order
                if not view.is_console:
                    form.must_repeat(chosen.typed)
            identifier = ordered.id
    except (InvalidInput, NotFound, Conflict) as error:
        return _question(view, asked, form, _problems(error))
    view.installation.waker.wake(REDELIVER)
    return view.goto(f"/redeliveries/{identifier}", done="ordered")


def _form(view: View, asked: Asked, problems: Problems | None = None, *, is_empty: bool = False) -> Response:
    """`is_empty`: nothing fits."""
    given: dict[str, Any] = {"asked": asked, "max_per_second": MAX_PER_SECOND, "is_empty": is_empty}
    if problems is not None:
        return view.refused("redelivery_new.html", None, problems, **given)
    return view.page("redelivery_new.html", problems=None, **given)


def _question(view: View, asked: Asked, form: Form | None = None, problems: Problems | None = None) -> Response:
    """A dry run, and what would happen; after an order that was refused, why."""
    try:
        with view.transaction() as session:
            chosen = _chosen(session, view, asked)
            counted = count(session, chosen.owner, chosen.selection)
            since = chosen.selection.since
            gone = kept_since(session, since) if chosen.selection.missing and since is not None else None
            if not counted.matched and counted.is_complete:
                return _form(view, asked, is_empty=True)
            many = is_many(counted.matched, is_complete=counted.is_complete)
            if many:
                view.prove()
            given: dict[str, Any] = {
                "chosen": chosen,
                "counted": counted,
                "kept_since": gone,
                "typed": chosen.typed if many else None,
                "most_counted": COUNTED,
                "back": None,
            }
            if problems is not None:
                return view.refused("redelivery_order.html", form, problems, **given)
            return view.page("redelivery_order.html", form=form, problems=None, **given)
    except (InvalidInput, NotFound, Conflict) as error:
        return _form(view, asked, _problems(error))


def _chosen(session: Session, view: View, asked: Asked) -> Chosen:
    """Raises InvalidInput, and NotFound."""
    zone, is_replay = zone_of(view.request), asked.kind == "replay"
    if is_replay and not asked.webhook:
        raise InvalidFilter("webhook", "is required: a replay is for one")
    since, until = read_moment("since", asked.since, zone), read_moment("until", asked.until, zone)
    named = view.caller.account or asked.account
    owner = find_account(session, named) if named else None
    to = chosen_webhook(session, owner.id if owner is not None else None, asked.webhook) if asked.webhook else None
    if owner is None:
        if to is None:
            raise InvalidFilter("account", "is required, or a webhook")
        owner = owner_of_webhook(session, to)
    webhook = Webhooks(session, view.installation).get(owner, to) if to is not None else None
    if is_replay and webhook is not None:
        if since is None:
            raise InvalidFilter("since", "is required")
        selection = replay_of(webhook.id, since=since, until=until, delivered=asked.delivered)
    else:
        selection = Selection(
            webhook=webhook.id if webhook is not None else None,
            event_type=asked.type or None,
            states=asked.states,
            reason=asked.reason or None,
            since=since,
            until=until,
        )
    return Chosen(owner, webhook, selection, _pace(asked.per_second))


def _pace(given: str) -> int:
    if not given.isascii() or not given.isdecimal() or not 1 <= int(given) <= MAX_PER_SECOND:
        raise InvalidFilter("per_second", f"must be 1 to {MAX_PER_SECOND:,}")
    return int(given)


def is_many(matched: int, *, is_complete: bool) -> bool:
    """Whether it takes more than a click."""
    return matched > MANY or not is_complete


def _problems(error: InvalidInput | NotFound | Conflict) -> Problems:
    match error:
        case InvalidInput():
            return Problems({_NAMES.get(error.field, error.field): error.reason})
        case UnknownAccount():
            return Problems({"account": "is not known here"})
        case NotFound():
            return Problems({"webhook": "is not known here"})
        case _:
            return Problems.of(problem_of(error))


@pages.get("/redeliveries/{redelivery_id}")
def get_redelivery(view: Reading, redelivery_id: UUID) -> Response:
    with view.transaction() as session:
        return view.page("redelivery.html", line=_line(session, view, redelivery_id))


@pages.get("/redeliveries/{redelivery_id}/cancel")
def get_cancel(view: Managing, redelivery_id: UUID) -> Response:
    with view.transaction() as session:
        line = _line(session, view, redelivery_id)
        if not line.is_open:
            return view.goto(f"/redeliveries/{redelivery_id}")
        return view.page("redelivery_cancel.html", line=line, back=f"/redeliveries/{redelivery_id}")


@pages.post("/redeliveries/{redelivery_id}/cancel")
def post_cancel(view: Managing, redelivery_id: UUID) -> Response:
    try:
        with view.transaction() as session:
            owner = owner_for(session, view.caller, owner_of_redelivery, redelivery_id)
            cancel(session, owner, redelivery_id, by=view.by)
    except WrongState:  # it ended meanwhile: its page says how
        return view.goto(f"/redeliveries/{redelivery_id}")
    return view.goto(f"/redeliveries/{redelivery_id}", done="cancelled")


def _line(session: Session, view: View, identifier: UUID) -> Progress:
    owner = owner_for(session, view.caller, owner_of_redelivery, identifier)
    (line,) = lines_of(session, view, [get(session, owner, identifier)])
    return line
