"""The ways in and out: a key (console), a link that works once (both), the proof before what cannot be taken back, how
pages look, and the end of a session."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.accounts.portal_links import take
from dispatcher.accounts.sessions import ConsoleSession, begin_console, end, find, may_enter_console, prove
from dispatcher.console import cookies
from dispatcher.console.forms import Form, read_fields
from dispatcher.console.frame import Rendered, Session, SignedIn, in_frame, suspended
from dispatcher.console.kinds import Kind
from dispatcher.console.redirects import safe_path
from dispatcher.console.urls import url_at
from dispatcher.errors import AccountSuspended, LinkGone
from dispatcher.web.authentication import call_of, caller_of_client
from dispatcher.web.guesses import address_of
from dispatcher.web.middleware import read_form
from dispatcher.web.problems import Problem
from dispatcher.web.serving import Served, Shared

entry = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
by_key = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)  # of the console alone

by_link = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)  # of the portal


async def _form(request: Request) -> Form:
    return Form(read_fields(await read_form(request)))


ShortForm = Annotated[Form, Depends(_form)]


async def _entering(request: Request, serving: Shared, _: ShortForm) -> AsyncIterator[None]:
    """A dependency: when it is the address's turn, once its form is there: one that comes slowly keeps nobody waiting.
    Keys that are not valid are counted by address, as everywhere; a right one, or a link, is never refused for what
    others show."""
    async with serving.entry_turns.turn(address_of(request)):
        yield


ENTERING = Depends(_entering, scope="function")
IN_FRAME = Depends(in_frame)


async def _operator(request: Request, serving: Shared, form: ShortForm) -> Caller | None:
    """A dependency: whose key the form has, if it may look at the whole installation. All others are alike. Raises
    Problem 429."""
    with suppress(AccountSuspended):
        caller = await caller_of_client(request, serving, form["key"])
        return caller if caller is not None and may_enter_console(caller) else None
    return None


Known = Annotated[Caller | None, Depends(_operator)]


@by_key.get("/login")
def get_login(request: Request, rendering: Rendered, next: str = "") -> Response:  # noqa: A002 - its name in the query
    # Browsers do not show a strict cookie to a page that another site leads to, but do once this page leads there.
    led_here = request.headers.get("sec-fetch-site") == "cross-site"
    return rendering.answer(request, "login.html", {"back": safe_path(next), "wrong": False, "again": led_here})


@by_key.post("/login", dependencies=[ENTERING])
def post_login(request: Request, installation: Served, rendering: Rendered, caller: Known, form: ShortForm) -> Response:
    back = safe_path(form["next"])
    if caller is None:
        values = {"back": back, "wrong": True, "again": False}
        return rendering.answer(request, "login.html", values, status=HTTPStatus.UNAUTHORIZED)
    with installation.transaction() as session:
        _, secret = begin_console(session, caller, installation.clock(), call=call_of(request))
    answer = RedirectResponse(url_at(request, back), HTTPStatus.SEE_OTHER)
    cookies.sign_in(answer, request, rendering.kind, secret)
    return answer


@by_link.get("/login", dependencies=[IN_FRAME])
def get_ended(request: Request, rendering: Rendered) -> Response:
    """Nobody is signed in: there is no other way in than a new link."""
    values = {"return_url": None, "ended": True}
    return rendering.answer(request, "left.html", values, status=HTTPStatus.UNAUTHORIZED)


@by_key.get("/prove")
def get_prove(request: Request, signed_in: SignedIn, rendering: Rendered, next: str = "") -> Response:  # noqa: A002
    values = {"back": safe_path(next), "wrong": False, "has_key": signed_in.key_id is not None}
    return rendering.answer(request, "prove.html", values)


@by_key.post("/prove", dependencies=[ENTERING])
def post_prove(
    *,
    request: Request,
    signed_in: SignedIn,
    installation: Served,
    rendering: Rendered,
    caller: Known,
    form: ShortForm,
) -> Response:
    back = safe_path(form["next"])
    if caller is None or not _proves(caller, signed_in):
        values = {"back": back, "wrong": True, "has_key": signed_in.key_id is not None}
        return rendering.answer(request, "prove.html", values, status=HTTPStatus.UNAUTHORIZED)
    with installation.transaction() as session:
        prove(session, signed_in.id, installation.clock())
    return RedirectResponse(url_at(request, back), HTTPStatus.SEE_OTHER)


def _proves(caller: Caller, signed_in: ConsoleSession) -> bool:
    """Whether a key shows again who is signed in: the session's own, or, of one that began with a link, any that may do
    as much."""
    if signed_in.key_id is not None:
        return caller.key_id == signed_in.key_id
    return caller.is_operator or Scope.OPERATOR not in signed_in.scopes


@entry.get("/enter", dependencies=[IN_FRAME])
def get_enter(request: Request, rendering: Rendered) -> Response:
    answer = rendering.answer(request, "enter.html", {"blocked": ""})
    if rendering.kind is Kind.PORTAL:
        cookies.probe(answer)
    return answer


@entry.post("/enter", dependencies=[IN_FRAME, ENTERING])
def post_enter(request: Request, installation: Served, rendering: Rendered, form: ShortForm) -> Response:
    shown = form["link"].rpartition("#")[2]
    if cookies.is_framed(request) and not cookies.was_probed(request):
        # The link is not used up: it works in a window of its own.
        return rendering.answer(request, "enter.html", {"blocked": shown}, status=HTTPStatus.CONFLICT)
    identifier, _, secret = shown.partition(".")
    now, call = installation.clock(), call_of(request)
    try:
        with installation.transaction() as session:
            begun, cookie, link = take(session, UUID(identifier), secret, now, call=call)
            if begun.kind != rendering.kind:
                raise LinkGone
            if (replaced := _of_another_account(session, request, begun, now)) is not None:
                if form["instead_of"] != str(replaced.id):
                    raise _Asked(replaced, begun)
                end(session, replaced.id, now, by=replaced.actor(call))
    except _Asked as asked:
        values = {"replaced": asked.replaced, "begun": asked.begun, "link": shown}
        return rendering.answer(request, "enter_instead.html", values, status=HTTPStatus.CONFLICT)
    except AccountSuspended:
        raise suspended() from None
    except (ValueError, LinkGone):
        raise Problem(HTTPStatus.GONE, "this link was used already, or is too old") from None
    answer = RedirectResponse(url_at(request, safe_path(link.path)), HTTPStatus.SEE_OTHER)
    cookies.sign_in(answer, request, rendering.kind, cookie, framed=begun.embed_origin is not None)
    return answer


class _Asked(Exception):
    """Another session would be replaced, so the link is not used up before somebody has said that they mean it:
    whatever other site leads here might have made it for an account of its own."""

    def __init__(self, replaced: ConsoleSession, begun: ConsoleSession) -> None:
        super().__init__("this browser is signed in for another account")
        self.replaced, self.begun = replaced, begun


def _of_another_account(
    session: Session, request: Request, begun: ConsoleSession, now: datetime
) -> ConsoleSession | None:
    """The session that this browser has, if it is of another account. A frame has no say: the page around it, which is
    listed, has chosen."""
    had = cookies.secret_of(request, Kind(begun.kind))
    if had is None or (begun.embed_origin is not None and cookies.is_framed(request)):
        return None
    with suppress(AccountSuspended):
        found = find(session, begun.kind, had, now)
        return found if found is not None and found.account_id != begun.account_id else None
    return None


@entry.post("/logout")
def post_logout(request: Request, signed_in: SignedIn, installation: Served, rendering: Rendered) -> Response:
    with installation.transaction() as session:
        end(session, signed_in.id, installation.clock(), by=signed_in.actor(call_of(request)))
    values = {"back": "/", "wrong": False, "again": False}
    template = "login.html" if rendering.kind is Kind.CONSOLE else "left.html"
    answer = rendering.answer(request, template, {**values, "left": True, "return_url": signed_in.return_url})
    cookies.sign_out(answer, request, rendering.kind, framed=signed_in.embed_origin is not None)
    return answer


@entry.post("/look")
def post_look(request: Request, form: ShortForm) -> Response:
    answer = RedirectResponse(url_at(request, safe_path(form["next"])), HTTPStatus.SEE_OTHER)
    cookies.keep_look(answer, request, form["theme"], form["zone"])
    return answer
