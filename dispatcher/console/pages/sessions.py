"""`/sessions`: who is signed in to console and portal, and how that ends."""

from uuid import UUID

from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.sessions import end, get_session, list_sessions
from dispatcher.console.frame import Cursor, Managing, Pages, Problems, Reading, read_cursor
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.errors import UnknownAccount
from dispatcher.web.pagination import page_of

PAGE = 50

pages = Pages()


@pages.get("/sessions")
def get_sessions(view: Reading, account: TextQuery = "", cursor: Cursor = None) -> Response:
    now = view.installation.clock()
    with view.transaction() as session:
        try:
            owner = find_account(session, account) if account else None
        except UnknownAccount:
            unknown = Problems({"account": "is not known here"})
            return view.refused("sessions.html", None, unknown, sessions=[], account=account, cursor=None)
        found = list_sessions(session, now, account=owner, before=read_cursor(cursor), limit=PAGE + 1)
    page, older = page_of(found, PAGE, lambda one: one.id)
    return view.page("sessions.html", sessions=page, next=older, account=account, cursor=cursor, problems=None)


@pages.get("/sessions/{session_id}/end")
def get_end(view: Managing, session_id: UUID) -> Response:
    with view.transaction() as session:
        return view.page("session_end.html", session=get_session(session, session_id, view.installation.clock()))


@pages.post("/sessions/{session_id}/end")
def post_end(view: Managing, session_id: UUID) -> Response:
    with view.transaction() as session:
        end(session, session_id, view.installation.clock(), by=view.by)
    return view.goto("/sessions", done="ended")
