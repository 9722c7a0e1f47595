"""`/keys`: who may call the API; making keys, and revoking them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key, get_key, keys_page, revoke_key
from dispatcher.console.frame import Cursor, Given, Managing, Pages, Problems, Reading, read_cursor
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.errors import AtQuota, InvalidAccount, InvalidInput, UnknownAccount
from dispatcher.web.pagination import page_of

PAGE, MOST_DAYS = 50, 36_500

pages = Pages()


@pages.get("/keys")
def get_keys(view: Reading, account: TextQuery = "", cursor: Cursor = None) -> Response:
    given: dict[str, Any] = {"account": account, "cursor": cursor}
    with view.transaction() as session:
        try:
            owner = find_account(session, account, deleted=True) if account else None
        except UnknownAccount:
            unknown = Problems({"account": "is not known here"})
            return view.refused("keys.html", None, unknown, keys=[], **given)
        found = keys_page(session, owner, before=read_cursor(cursor), limit=PAGE + 1)
        page, older = page_of(found, PAGE, lambda pair: pair[0].id)
        return view.page("keys.html", keys=page, next=older, problems=None, **given)


@pages.get("/keys/new")
def get_new(view: Managing, account: TextQuery = "") -> Response:
    view.prove()
    return view.page("key_new.html", form=None, problems=None, account=account, scopes=list(Scope))


@pages.post("/keys/new")
def post_new(view: Managing, form: Given, account: TextQuery = "") -> Response:
    view.prove()
    asked = {"account": account, "scopes": list(Scope)}
    try:
        with view.transaction() as session:
            made = create_key(
                session,
                by=view.by,
                account=form["account"] or None,
                scopes=_scopes(form.all("scopes")),
                name=form["name"] or None,
                valid_for=_days(form["days"]),
                defaults=view.installation.settings.default_limits,
            )
            return view.page("key_made.html", key=get_key(session, made.id), account=form["account"], token=made.token)
    except InvalidInput as error:
        return view.refused("key_new.html", form, Problems.of(error), **asked)
    except UnknownAccount:
        return view.refused("key_new.html", form, Problems({"account": "is not known here"}), **asked)
    except AtQuota as error:
        return view.refused("key_new.html", form, Problems({"account": str(error)}), **asked)


@pages.get("/keys/{key_id}/revoke")
def get_revoke(view: Managing, key_id: UUID) -> Response:
    view.prove()
    with view.transaction() as session:
        return view.page("key_revoke.html", key=get_key(session, key_id))


@pages.post("/keys/{key_id}/revoke")
def post_revoke(view: Managing, key_id: UUID) -> Response:
    view.prove()
    with view.transaction() as session:
        revoke_key(session, key_id, by=view.by)
    view.serving.known_callers.forget()
    return view.goto("/keys", done="revoked")


def _scopes(given: list[str]) -> list[Scope]:
    known = {str(scope) for scope in Scope}
    if not given or not known.issuperset(given):
        raise InvalidAccount("scopes", f"must be one or more of {', '.join(Scope)}")
    return [Scope(scope) for scope in dict.fromkeys(given)]


def _days(given: str) -> timedelta | None:
    if not given:
        return None
    if not (
        given.isascii() and given.isdecimal() and len(given) <= len(str(MOST_DAYS)) and 1 <= int(given) <= MOST_DAYS
    ):
        raise InvalidAccount("days", f"must be from 1 to {MOST_DAYS:,}")
    return timedelta(days=int(given))
