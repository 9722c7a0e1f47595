"""`/overview`: is anything wrong, and where?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.console.figures import Cause, Span, cause_of, causes, counts_of
from dispatcher.console.frame import Pages, Reading, Session
from dispatcher.console.looks import looks_of
from dispatcher.console.pages.webhooks import state_of
from dispatcher.console.view import View
from dispatcher.webhooks.finding import failing_now, some
from dispatcher.webhooks.pulses.outcomes import ALL
from dispatcher.webhooks.pulses.reading import bars, failing, series
from dispatcher.webhooks.pulses.recent import recent_of
from dispatcher.webhooks.pulses.series import Bar, Failing, Series
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import Webhooks

BROKEN = 5  # webhooks that are shown because they fail now, however few requests they get

pages = Pages()


@dataclass(frozen=True, slots=True)
class Suspect:
    """A webhook that needs a look: how it is, why its requests of the last hour failed, and its last 24 hours."""

    registered: Registered
    state: str
    failing: Failing | None
    cause: Cause | None
    chart: Sequence[Bar]


@pages.get("/overview")
def get_overview(view: Reading, span: Annotated[Span, Query()] = Span.DAY) -> Response:
    return view.shared("overview.html", lambda: _overview(view, span))


def _overview(view: View, span: Span) -> Response:
    looks, account = looks_of(view.installation), view.caller.account_id
    overview = looks.overview() if view.is_console else None

    recent, now = recent_of(view.installation), view.installation.clock()

    def read_series() -> Series:
        with view.transaction() as session:
            return series(session, recent, account or ALL, span.times(now), now, exact=view.is_console)

    def read_failing() -> list[Failing]:
        with view.transaction() as session:
            return failing(session, recent, now, account=account, always=broken, exact=view.is_console)

    def read_broken() -> Sequence[UUID]:
        if overview is not None:
            put_aside = [UUID(identifier) for identifier, _ in overview.quarantined_webhooks[:BROKEN]]
            return [*(one.webhook_id for one in overview.failing), *put_aside]
        with view.transaction() as session:
            return failing_now(session, account, limit=BROKEN) if account is not None else []

    found = looks.fresh((account, span), read_series)
    broken = looks.fresh(("broken", account), read_broken)
    fail = looks.fresh(("failing", account), read_failing)
    with view.transaction() as session:
        return view.page(
            "overview.html",
            overview=overview,
            span=span,
            spans=list(Span),
            series=found,
            counts=counts_of(found.total),
            causes=causes(found.total),
            suspects=_suspects(view, session, broken, fail),
        )


def _suspects(view: View, session: Session, broken: Sequence[UUID], fail: Sequence[Failing]) -> list[Suspect]:
    """The broken ones first, then those that fail most."""
    webhooks, failures = Webhooks(session, view.installation), {one.webhook_id: one for one in fail}
    found = some(session, {*broken, *failures})
    owners, breakers = webhooks.owners(found.values()), webhooks.circuit_breakers(found.values())
    charts = bars(session, recent_of(view.installation), list(found), view.installation.clock()) if found else {}
    suspects = []
    for identifier in dict.fromkeys([*broken, *failures]):
        if (webhook := found.get(identifier)) is not None:
            registered = webhooks.opened(webhook, owners[webhook.account_id], breakers.get(identifier))
            failed = failures.get(identifier)
            cause = cause_of(failed.most_often) if failed is not None else None
            suspects.append(
                Suspect(registered, state_of(registered, charts[identifier]), failed, cause, charts[identifier])
            )
    return suspects
