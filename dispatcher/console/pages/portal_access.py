"""How people get into the portal of an account, and how they are put out: links, the end of all sessions, and the
portal as the account sees it."""

from typing import Any
from uuid import UUID

from starlette.responses import RedirectResponse, Response

from dispatcher.accounts.accounts import get_account
from dispatcher.accounts.portal_choices import LINK_SECONDS, PortalChoices, PortalScope
from dispatcher.accounts.portal_links import make_to_portal, take
from dispatcher.accounts.sessions import end_all_of, list_sessions
from dispatcher.console.cookies import sign_in
from dispatcher.console.forms import Form
from dispatcher.console.frame import Given, Managing, Pages, Problems, Session
from dispatcher.console.kinds import Kind
from dispatcher.console.urls import url_of_face
from dispatcher.console.view import View
from dispatcher.errors import AccountSuspended, AtQuota, InvalidInput, InvalidLink
from dispatcher.settings.origins import read_origins
from dispatcher.web.authentication import call_of

COUNTED = 1_000  # sessions
OPENED_FOR = 60 * 60  # seconds that an operator looks at the portal

pages = Pages()


@pages.get("/accounts/{account_id}/portal-link")
def get_link(view: Managing, account_id: UUID) -> Response:
    view.prove()
    with view.transaction() as session:
        return view.page("portal_link.html", form=None, problems=None, **_asked(view, session, account_id))


@pages.post("/accounts/{account_id}/portal-link")
def post_link(view: Managing, account_id: UUID, form: Given) -> Response:
    view.prove()
    with view.transaction() as session:
        asked = _asked(view, session, account_id)
        try:
            link = make_to_portal(
                session,
                asked["account"],
                _choices(form),
                view.installation.settings,
                key_id=view.session.key_id,
                now=view.installation.clock(),
                by=view.by,
            )
        except InvalidInput as error:
            return view.refused("portal_link.html", form, Problems.of(error), **asked)
        except (AccountSuspended, AtQuota) as error:
            return view.refused("portal_link.html", form, Problems({"": str(error)}), **asked)
        url = link.url(view.installation.settings.console_url)
        return view.page("portal_link_made.html", account=asked["account"], url=url, expires_at=link.expires_at)


@pages.get("/accounts/{account_id}/open")
def get_open(view: Managing, account_id: UUID) -> Response:
    view.prove()
    with view.transaction() as session:
        return view.page("portal_open.html", account=get_account(session, account_id), seconds=OPENED_FOR)


@pages.post("/accounts/{account_id}/open")
def post_open(view: Managing, account_id: UUID) -> Response:
    """Signs the operator in to the portal, who can change nothing there. The audit log has the link and the session."""
    view.prove()
    now = view.installation.clock()
    chosen = PortalChoices(scopes={PortalScope.READ}, user=str(view.by), session_seconds=OPENED_FOR)
    with view.transaction() as session:
        account, settings = get_account(session, account_id), view.installation.settings
        link = make_to_portal(session, account, chosen, settings, key_id=view.session.key_id, now=now, by=view.by)
        _, secret, _ = take(session, link.id, link.secret, now, call=call_of(view.request))
    answer = RedirectResponse(url_of_face(view.request, Kind.PORTAL), 303)
    sign_in(answer, view.request, Kind.PORTAL, secret)
    return answer


@pages.get("/accounts/{account_id}/end-sessions")
def get_end_sessions(view: Managing, account_id: UUID) -> Response:
    view.prove()
    with view.transaction() as session:
        account = get_account(session, account_id)
        number = len(list_sessions(session, view.installation.clock(), account=account, limit=COUNTED))
        return view.page("portal_end.html", account=account, number=number, counted=COUNTED)


@pages.post("/accounts/{account_id}/end-sessions")
def post_end_sessions(view: Managing, account_id: UUID) -> Response:
    view.prove()
    with view.transaction() as session:
        account = get_account(session, account_id)
        end_all_of(session, account.id, view.installation.clock(), by=view.by)
    return view.goto(f"/accounts/{account_id}", done="ended")


def _asked(view: View, session: Session, account_id: UUID) -> dict[str, Any]:
    """What the form of a link offers."""
    settings = view.installation.settings
    return {
        "account": get_account(session, account_id),
        "scopes": list(PortalScope),
        "origins": sorted(read_origins(settings.portal_ancestors)),
        "return_origins": sorted(read_origins(settings.portal_return_origins)),
    }


def _choices(form: Form) -> PortalChoices:
    """Raises InvalidLink for what has no form in which a link can have it."""
    known = {str(scope) for scope in PortalScope}
    if not known.issuperset(form.all("scopes")):
        raise InvalidLink("scopes", f"must be some of {', '.join(PortalScope)}")
    minutes = form["minutes"]
    if minutes and not (minutes.isascii() and minutes.isdecimal() and len(minutes) < 5):
        raise InvalidLink("minutes", "must be from 1 to 60")
    return PortalChoices(
        scopes={PortalScope(scope) for scope in form.all("scopes")},
        user=form["user"] or None,
        expires_in=int(minutes) * 60 if minutes else LINK_SECONDS,
        embed_origin=form["embed_origin"] or None,
        return_url=form["return_url"] or None,
    )
