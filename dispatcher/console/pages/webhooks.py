"""`/webhooks` and `/webhooks/{id}`: which there are, how they fare, and why one fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.console.figures import Span, counts_of
from dispatcher.console.frame import Cursor, Pages, Reading, read_cursor
from dispatcher.console.looks import looks_of
from dispatcher.deliveries.history import list_deliveries
from dispatcher.transport.told import told
from dispatcher.webhooks.contract import Verdict, write_contract
from dispatcher.webhooks.explanation.reading import explain_health
from dispatcher.webhooks.health import circuit_state, health_of
from dispatcher.webhooks.pulses.reading import bars, series
from dispatcher.webhooks.pulses.recent import recent_of
from dispatcher.webhooks.pulses.series import Bar as Hour
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import Webhooks

PAGE, RECENT = 50, 20

pages = Pages()

StateQuery = Annotated[Literal["", "enabled", "disabled", "quarantined"], Query()]
TextQuery = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True, slots=True)
class Line:
    """A webhook in a list."""

    registered: Registered
    state: str  # as `chip` of `parts.html` shows it
    hours: Sequence[Hour]  # of the last 24

    @property
    def requests(self) -> int:
        return sum(sum(hour[1:]) for hour in self.hours)

    @property
    def delivered(self) -> int:
        return sum(hour.acknowledged for hour in self.hours)


def state_of(registered: Registered, hours: Sequence[Hour] = ()) -> str:
    """How a webhook is, in one word: what keeps it from being sent to comes first. It is rejecting if a half of its
    requests or more were rejected in this hour and the one before, the last two of `hours`."""
    webhook = registered.webhook
    if webhook.deleted_at is not None:
        return "deleted"
    if registered.owner.suspended_at is not None:
        return "suspended"
    if not webhook.enabled:
        return "disabled"
    if webhook.quarantined_at is not None:
        return "quarantined"
    if registered.circuit_breaker is None:
        last = hours[-2:]
        rejected = sum(hour.rejected for hour in last)
        return "rejecting" if rejected and 2 * rejected >= sum(sum(hour[1:]) for hour in last) else "enabled"
    return "circuit_open" if circuit_state(registered.circuit_breaker) == "open" else "failing"


@pages.get("/webhooks")
def get_webhooks(
    *,
    view: Reading,
    account: TextQuery = "",
    app: TextQuery = "",
    dialect: TextQuery = "",
    state: StateQuery = "",
    cursor: Cursor = None,
) -> Response:
    with view.transaction() as session:
        webhooks = Webhooks(session, view.installation)
        owner = find_account(session, view.caller.account or account) if view.caller.account or account else None
        page, older = webhooks.page(
            owner,
            dialect=dialect or None,
            app=app or None,
            enabled={"enabled": True, "disabled": False}.get(state),
            quarantined=True if state == "quarantined" else None,
            before=read_cursor(cursor),
            limit=PAGE,
        )
        owners = {owner.id: owner} if owner is not None else webhooks.owners(page)
        breakers = webhooks.circuit_breakers(page)
        listed = [webhooks.opened(webhook, owners[webhook.account_id], breakers.get(webhook.id)) for webhook in page]
        recent, now = recent_of(view.installation), view.installation.clock()
        charts = bars(session, recent, [webhook.id for webhook in page], now) if page else {}
        lines = [
            Line(registered, state_of(registered, charts[registered.id]), charts[registered.id])
            for registered in listed
        ]
        filters = {"account": account, "app": app, "dialect": dialect, "state": state}
        return view.page("webhooks.html", lines=lines, filters=filters, before=older, cursor=cursor)


@pages.get("/webhooks/{webhook_id}")
def get_webhook(view: Reading, webhook_id: UUID, span: Annotated[Span, Query()] = Span.DAY) -> Response:
    with view.transaction() as session:
        registered = Webhooks(session, view.installation).read(view.caller.account_id, webhook_id, deleted=True)
        health = health_of(session, registered.webhook, read=registered)
        exact, unreadable = view.is_console, registered.unreadable
        sentences = explain_health(session, view.installation, webhook_id, health, unreadable, exact=exact)
        recent, now = recent_of(view.installation), view.installation.clock()
        found = looks_of(view.installation).fresh(
            (webhook_id, span, exact), lambda: series(session, recent, webhook_id, span.times(now), now, exact=exact)
        )
        hours = looks_of(view.installation).fresh(
            ("hours", webhook_id), lambda: bars(session, recent, [webhook_id], now)[webhook_id]
        )
        deliveries = list_deliveries(session, registered.owner, webhook=webhook_id, limit=RECENT).deliveries
        answer = health.last_answer
        return view.page(
            "webhook.html",
            webhook=registered.webhook,
            account=registered.owner.name,
            state=state_of(registered, hours),
            health=health,
            answered_badly=answer is not None and answer.verdict != Verdict.ACKNOWLEDGED,
            failure=told(answer.failure, answer.failure_detail, exact=exact) if answer is not None else None,
            sentences=sentences,
            deliveries=deliveries,
            span=span,
            spans=list(Span),
            series=found,
            counts=counts_of(found.total),
            contract=_not_usual(registered),
        )


def _not_usual(registered: Registered) -> list[tuple[str, object]]:
    """The members of its contract that are not as usual; those that can be read."""
    if registered.unreadable is not None or registered.webhook.deleted_at is not None:
        return []
    return list(write_contract(registered.contract).items())
