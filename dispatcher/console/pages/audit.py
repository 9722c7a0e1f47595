"""`/audit`: who changed what, to look through and to take away."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query
from starlette.responses import Response, StreamingResponse

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import ActorKind
from dispatcher.accounts.audit import Action, list_entries, names_in, shown_entry
from dispatcher.console.cookies import zone_of
from dispatcher.console.frame import Cursor, Pages, Problems, Reading, Session, read_cursor
from dispatcher.console.moments import read_moment
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.view import View
from dispatcher.errors import InvalidFilter, InvalidInput, UnknownAccount

PAGE, EXPORTED_AT_ONCE = 50, 500

pages = Pages()


def _filters(
    *,
    account: TextQuery = "",
    actor: Annotated[ActorKind | Literal[""], Query()] = "",
    action: Annotated[Action | Literal[""], Query()] = "",
    target: TextQuery = "",
    key: TextQuery = "",
    request: TextQuery = "",
    since: TextQuery = "",
    until: TextQuery = "",
) -> dict[str, str]:
    times = {"since": since, "until": until}
    ids = {"target": target.strip(), "key": key.strip(), "request": request.strip()}
    return {"account": account, "actor": actor, "action": action, **ids, **times}


Filters = Annotated[dict[str, str], Depends(_filters)]


@pages.get("/audit")
def get_audit(view: Reading, filters: Filters, cursor: Cursor = None) -> Response:
    given: dict[str, Any] = {"filters": filters, "actors": list(ActorKind), "actions": list(Action), "cursor": cursor}
    with view.transaction() as session:
        try:
            wanted = _wanted(view, session, filters)
        except InvalidInput as error:
            return view.refused("audit.html", None, Problems.of(error), entries=[], **given)
        found, older = list_entries(session, **wanted, before=read_cursor(cursor), limit=PAGE)
        entries = [_readable(shown_entry(entry, name)) for entry, name in found]
        called = names_in(session, [entry for entry, _ in found])
        return view.page("audit.html", entries=entries, called=called, before=older, problems=None, **given)


@pages.get("/audit.ndjson")
def get_audit_as_ndjson(view: Reading, filters: Filters) -> Response:
    """All entries that fit, newest first, as the API shows them. Raises InvalidFilter, and UnknownAccount."""
    with view.transaction() as session:
        wanted = _wanted(view, session, filters)
    headers = {"Content-Disposition": 'attachment; filename="audit.ndjson"'}
    return StreamingResponse(_lines(view, wanted), media_type="application/x-ndjson", headers=headers)


def _readable(entry: dict[str, Any]) -> dict[str, Any]:
    detail = entry["detail"]
    return {**entry, "detail": json.dumps(detail, indent=2, ensure_ascii=False) if detail else ""}


def _lines(view: View, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Page by page, so that neither memory nor a transaction grows with the log."""
    before: UUID | None = None
    while True:
        with view.transaction() as session:
            found, before = list_entries(session, **wanted, before=before, limit=EXPORTED_AT_ONCE)
            page = [shown_entry(entry, name) for entry, name in found]
        for entry in page:
            yield json.dumps({**entry, "at": entry["at"].isoformat()}, default=str) + "\n"
        if before is None:
            return


def _wanted(view: View, session: Session, filters: Mapping[str, str]) -> dict[str, Any]:
    """The filters as `list_entries` takes them. Raises InvalidFilter."""
    zone = zone_of(view.request)
    try:
        account = find_account(session, filters["account"], deleted=True) if filters["account"] else None
    except UnknownAccount:
        raise InvalidFilter("account", "is not known here") from None
    return {
        "account": account,
        "actor": filters["actor"] or None,
        "action": filters["action"] or None,
        **{name: _id(name, filters[name]) for name in ("target", "key", "request")},
        **{name: read_moment(name, filters[name], zone) for name in ("since", "until")},
    }


def _id(field: str, given: str) -> UUID | None:
    try:
        return UUID(given) if given else None
    except ValueError:
        raise InvalidFilter(field, "must be an id, such as 0198a6d1-90aa-7c33-a2b7-0d5f1c9e4a77") from None
