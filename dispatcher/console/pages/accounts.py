"""`/accounts` and `/accounts/{id}`: who has what, what they used of their limits, and whether they are suspended.

By their ids: names may have slashes in them.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from dispatcher.accounts.accounts import accounts_page, create_account, find_account, get_account
from dispatcher.accounts.api_keys import keys_page
from dispatcher.accounts.lifecycle import COUNTED, contents_of, resume, suspend, why_suspended
from dispatcher.accounts.sessions import list_sessions
from dispatcher.accounts.usage import use_of
from dispatcher.console.figures import Span, counts_of
from dispatcher.console.frame import Cursor, Given, Managing, Pages, Problems, Reading, Session, read_cursor
from dispatcher.console.looks import looks_of
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.errors import InvalidInput, NameTaken, UnknownAccount
from dispatcher.settings.quotas import limits_of
from dispatcher.web.pagination import page_of
from dispatcher.webhooks.pulses.reading import bars, series
from dispatcher.webhooks.pulses.recent import recent_of

PAGE, SOME = 50, 10  # in a list of its own; on the page of an account

pages = Pages()


@pages.get("/accounts")
def get_accounts(view: Reading, account: TextQuery = "", cursor: Cursor = None) -> Response:
    with view.transaction() as session:
        if account:
            try:
                return view.goto(f"/accounts/{find_account(session, account, deleted=True).id}")
            except UnknownAccount:
                found = []
        else:
            found = list(accounts_page(session, before=read_cursor(cursor), limit=PAGE + 1))
        page, older = page_of(found, PAGE, lambda one: one.id)
        now, recent = view.installation.clock(), recent_of(view.installation)
        charts = bars(session, recent, [one.id for one in page], now) if page else {}
        return view.page("accounts.html", accounts=page, charts=charts, wanted=account, cursor=cursor, next=older)


@pages.get("/accounts/new")
def get_new(view: Managing) -> Response:
    return view.page("account_new.html", form=None, problems=None)


@pages.post("/accounts/new")
def post_new(view: Managing, form: Given) -> Response:
    try:
        with view.transaction() as session:
            account = create_account(session, form["name"], by=view.by)
            identifier = account.id
    except InvalidInput as error:
        return view.refused("account_new.html", form, Problems.of(error))
    except NameTaken:
        return view.refused("account_new.html", form, Problems({"name": "is in use already"}))
    return view.goto(f"/accounts/{identifier}", done="created")


@pages.get("/accounts/{account_id}")
def get_one(view: Reading, account_id: UUID, span: Annotated[Span, Query()] = Span.DAY) -> Response:
    defaults, now = view.installation.settings.default_limits, view.installation.clock()
    with view.transaction() as session:
        account = get_account(session, account_id)
    rates = view.serving.rates.used(account_id, limits_of(account.limits, defaults))
    recent = recent_of(view.installation)
    with view.transaction() as session:
        found = looks_of(view.installation).fresh(
            ("account", account_id, span), lambda: series(session, recent, account_id, span.times(now), now, exact=True)
        )
        sessions = list_sessions(session, now, account=account, limit=SOME + 1)
        keys = keys_page(session, account, before=None, limit=SOME + 1)
        return view.page(
            "account.html",
            account=account,
            suspended_because=why_suspended(session, account) if account.suspended_at is not None else None,
            uses=use_of(session, account, defaults, rates),
            keys=keys,
            sessions=sessions,
            most=SOME,
            span=span,
            spans=list(Span),
            series=found,
            counts=counts_of(found.total),
        )


@pages.get("/accounts/{account_id}/suspend")
def get_suspend(view: Managing, account_id: UUID) -> Response:
    with view.transaction() as session:
        return view.page("account_suspend.html", **_asked(session, account_id), form=None, problems=None)


@pages.post("/accounts/{account_id}/suspend")
def post_suspend(view: Managing, account_id: UUID, form: Given) -> Response:
    with view.transaction() as session:
        asked = _asked(session, account_id)
        try:
            suspend(session, asked["account"], by=view.by, reason=form["reason"] or None)
        except InvalidInput as error:
            return view.refused("account_suspend.html", form, Problems.of(error), **asked)
    view.serving.known_callers.forget()
    return view.goto(f"/accounts/{account_id}", done="suspended")


@pages.get("/accounts/{account_id}/resume")
def get_resume(view: Managing, account_id: UUID) -> Response:
    with view.transaction() as session:
        return view.page("account_resume.html", **_asked(session, account_id), form=None, problems=None)


@pages.post("/accounts/{account_id}/resume")
def post_resume(view: Managing, account_id: UUID, form: Given) -> Response:
    with view.transaction() as session:
        asked = _asked(session, account_id)
        try:
            resume(session, asked["account"], by=view.by, reason=form["reason"] or None)
        except InvalidInput as error:
            return view.refused("account_resume.html", form, Problems.of(error), **asked)
    view.installation.waker.wake()
    return view.goto(f"/accounts/{account_id}", done="resumed")


def _asked(session: Session, account_id: UUID) -> dict[str, Any]:
    """What the questions about an account say."""
    account = get_account(session, account_id)
    return {"account": account, "contents": contents_of(session, account), "counted": COUNTED}
