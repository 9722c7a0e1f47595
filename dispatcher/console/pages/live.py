"""`/live`: what goes out just now?"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.console.exchanges import phrase_of
from dispatcher.console.figures import KINDS, cause_of
from dispatcher.console.frame import Pages, Problems, Reading
from dispatcher.console.looks import looks_of
from dispatcher.console.pages.events import chosen_webhook
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.view import View
from dispatcher.errors import InvalidFilter, UnknownAccount
from dispatcher.webhooks.live import LOOKED_AT, Live, newest_requests
from dispatcher.webhooks.pulses.series import verdict_of

SHOWN, EVERY = 50, 2  # requests; seconds
FRESH = 1.5  # seconds: fewer than between two ticks, so each of them shows what is new

pages = Pages()


@pages.get("/live")
def get_live(
    view: Reading, account: TextQuery = "", webhook: TextQuery = "", failures: Annotated[bool, Query()] = False
) -> Response:
    filters = {"account": account, "webhook": webhook, "failures": failures}
    shown: dict[str, Any] = {"filters": filters, "every": EVERY, "shown": SHOWN, "most": LOOKED_AT}
    shown |= {"kind_of": kind_of, "cause_of": cause_of, "phrase_of": phrase_of}
    try:
        with view.transaction() as session:
            named = view.caller.account or account
            owner = find_account(session, named).id if named else None
            to = chosen_webhook(session, owner, webhook) if webhook else None
    except UnknownAccount:
        return view.refused("live.html", None, Problems({"account": "is not known here"}), live=None, **shown)
    except InvalidFilter as error:
        return view.refused("live.html", None, Problems.of(error), live=None, **shown)
    live = _read(view, owner, to, failures=failures)
    return view.page("live.html", problems=None, live=live, **shown)


def _read(view: View, account: UUID | None, webhook: UUID | None, *, failures: bool) -> Live:
    """Once for all who look at the same."""

    def read() -> Live:
        with view.transaction() as session:
            return newest_requests(
                session,
                view.installation.clock(),
                account=account,
                webhook=webhook,
                failures=failures,
                exact=view.is_console,
                limit=SHOWN,
            )

    key = ("live", account, webhook, failures, view.is_console)
    return looks_of(view.installation).fresh(key, read, seconds=FRESH)


def kind_of(outcome: str) -> str:
    """How charts and chips name an outcome: ok, wait or bad; none for what was sent again with a new token."""
    verdict = verdict_of(outcome)
    return KINDS[verdict] if verdict is not None else ""
