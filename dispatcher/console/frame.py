"""What pages are made with. A page author imports from here: `Pages`, `Reading`, `Managing`, `Given`, `Cursor`,
`Problems`."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.sessions import ConsoleSession, find, has_form
from dispatcher.console.cookies import secret_of
from dispatcher.console.errors import LoginNeeded
from dispatcher.console.forms import Form, Problems, read_fields
from dispatcher.console.kinds import Kind
from dispatcher.console.rendering import Rendering
from dispatcher.console.urls import path_of
from dispatcher.console.view import View, caller_of
from dispatcher.errors import AccountSuspended
from dispatcher.installation import Installation
from dispatcher.settings.origins import read_origins
from dispatcher.web.middleware import read_page_form
from dispatcher.web.pagination import Cursor, read_cursor
from dispatcher.web.problems import Problem
from dispatcher.web.quotas import READ, WRITE
from dispatcher.web.serving import Shared

__all__ = ["Cursor", "Given", "Managing", "Pages", "Problems", "Reading", "Session", "read_cursor", "rendering_of"]


def rendering_of(request: Request) -> Rendering:
    """A dependency: the templates of the face that is asked."""
    rendering: Rendering = request.app.state.rendering
    return rendering


Rendered = Annotated[Rendering, Depends(rendering_of)]


async def in_frame(request: Request, serving: Shared, rendering: Rendered) -> None:
    """A dependency: lets the pages of all listed origins show the answer, while it is not known whose session it is.
    Otherwise a frame whose session has ended would show an error of the browser."""
    origins = read_origins(serving.installation.settings.portal_ancestors)
    if rendering.kind is Kind.PORTAL and origins:
        request.state.framed_by = " ".join(sorted(origins))


async def signed_in(request: Request, serving: Shared, rendering: Rendered) -> ConsoleSession:
    """A dependency: who is signed in. Raises LoginNeeded, Problem 403 while the account is suspended, and Problem 429
    without a valid session if the address has shown too much that is not valid."""
    await in_frame(request, serving, rendering)
    secret, kind = secret_of(request, rendering.kind), rendering.kind
    session = None
    if secret is not None and has_form(secret):
        await serving.session_guesses.admit(request, serving.installation, (kind.value, secret))
        try:
            session = await run_in_threadpool(
                _found, serving.installation, kind, secret, is_use=not _asks_by_itself(request)
            )
        except AccountSuspended:
            raise suspended() from None
        if session is None:
            serving.session_guesses.failed(request)
    if session is None:
        raise LoginNeeded(path_of(request) if request.method == "GET" else "/")
    request.state.key = str(session.key_id or session.id)
    request.state.framed_by = session.embed_origin or "'none'"
    return session


def suspended() -> Problem:
    """What people of a suspended account are told: as its keys are, in the API."""
    why = "the account is suspended: nothing is sent, and nobody of it is let in. Whoever runs the platform knows why"
    return Problem(HTTPStatus.FORBIDDEN, why)


def _asks_by_itself(request: Request) -> bool:
    """Whether a live part asks for itself again, which it does without anybody there. What people press is for another
    element than itself."""
    source = request.headers.get("hx-source")
    return source is not None and source == request.headers.get("hx-target")


def _found(installation: Installation, kind: Kind, secret: str, *, is_use: bool) -> ConsoleSession | None:
    with installation.transaction() as session:
        return find(session, kind.value, secret, installation.clock(), is_use=is_use)


SignedIn = Annotated[ConsoleSession, Depends(signed_in)]


async def _reading(request: Request, serving: Shared, rendering: Rendered, session: SignedIn) -> AsyncIterator[View]:
    """A dependency: the view of a page that changes nothing, when it is its account's turn."""
    await serving.rates.charge(caller_of(session), READ)
    async with serving.reading_turns.turn(session.account_id):
        yield View(request, serving, rendering, session)


async def _managing(request: Request, serving: Shared, rendering: Rendered, session: SignedIn) -> AsyncIterator[View]:
    """A dependency: the view of who may change something. Raises Problem 403."""
    caller = caller_of(session)
    if not caller.may(Scope.MANAGE):
        raise Problem(HTTPStatus.FORBIDDEN, "you may look at everything here, and change nothing")
    await serving.rates.charge(caller, WRITE)
    async with serving.writing_turns.turn(session.account_id):
        yield View(request, serving, rendering, session)


async def _sent(_: SignedIn, request: Request) -> bytes:
    return await read_page_form(request)


def _form(sent: Annotated[bytes, Depends(_sent)]) -> Form:
    """A dependency: the form of who is signed in. No coroutine, so that it is taken apart in a thread."""
    return Form(read_fields(sent))


Reading = Annotated[View, Depends(_reading, scope="function")]
Managing = Annotated[View, Depends(_managing, scope="function")]
Given = Annotated[Form, Depends(_form)]


class Pages(APIRouter):
    """The routes of a module of pages. Nobody reaches them without being signed in."""

    def __init__(self) -> None:
        super().__init__(
            dependencies=[Depends(signed_in)], include_in_schema=False, default_response_class=HTMLResponse
        )
