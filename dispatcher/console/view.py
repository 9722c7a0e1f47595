"""What a page is given: who looks, what they may see and do, and how to answer."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dispatcher.accounts.actor import Actor
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.accounts.sessions import ConsoleSession
from dispatcher.console.cookies import look_of, zone_of
from dispatcher.console.errors import ProofNeeded
from dispatcher.console.kinds import Kind
from dispatcher.console.looks import looks_of
from dispatcher.console.rendering import Rendering
from dispatcher.console.urls import path_of, url_of
from dispatcher.console.words import Words
from dispatcher.installation import Installation
from dispatcher.web.authentication import call_of
from dispatcher.web.pagination import write_cursor
from dispatcher.web.serving import Serving

PROOF_HOLDS = timedelta(minutes=10)
SHARED = 2.0  # seconds: what is in it may be some seconds old by itself
SECRETS = "secrets"  # a right in the portal, beside the scopes of keys


class View:
    """One request of somebody who is signed in.

    In the portal `caller` is of the account, in the console of none: so the functions that ask a caller for the account
    (`dispatcher.web.ownership`) find only what belongs to whoever looks.
    """

    def __init__(self, request: Request, serving: Serving, rendering: Rendering, session: ConsoleSession) -> None:
        self.request, self.serving, self.session = request, serving, session
        self._rendering = rendering
        self.caller = caller_of(session)

    @property
    def installation(self) -> Installation:
        return self.serving.installation

    @property
    def words(self) -> Words:
        """How values are written on this page."""
        return self._rendering.words(self.request)

    def transaction(self) -> AbstractContextManager[Session]:
        """A transaction for the page's calls."""
        return self.installation.transaction()

    @property
    def is_console(self) -> bool:
        """Whether an operator looks: then accounts are named, and failures are shown exactly."""
        return self._rendering.kind is Kind.CONSOLE

    @property
    def may_manage(self) -> bool:
        """Whether to show what changes something."""
        return self.caller.may(Scope.MANAGE)

    @property
    def may_see_secrets(self) -> bool:
        return self.caller.is_operator or SECRETS in self.session.scopes

    @property
    def by(self) -> Actor:
        """Who makes a change, for the audit log."""
        return self.session.actor(call_of(self.request))

    def page(
        self, template: str, *, status: int = HTTPStatus.OK, before: UUID | None = None, **values: object
    ) -> Response:
        """The page of a template, or the part of it that the request wants. `before`: of the next page of its list, as
        the functions that make pages return it."""
        given: dict[str, Any] = {"view": self, "next": write_cursor(before), **values}
        given.setdefault("done", self.request.query_params.get("done"))
        if self.session.theme is not None and not look_of(self.request)[0]:
            given["theme"] = self.session.theme  # the platform's, until somebody chooses another
        return self._rendering.answer(self.request, template, given, status=status)

    def shared(self, template: str, make: Callable[[], Response]) -> Response:
        """The page that `make` returns. If only a part of it is wanted, which is live and says nothing about who looks,
        it is made once in a while for all who look at the same with the same rights."""
        part = self._rendering.part(self.request, template)
        if part is None:
            return make()
        where = self._rendering.kind, template, part, path_of(self.request), zone_of(self.request)
        key = *where, self.caller.account_id, self.caller.scopes
        body = looks_of(self.installation).fresh(key, lambda: make().body, seconds=SHARED, longest=SHARED)
        return HTMLResponse(body)

    def refused(self, template: str, form: object, problems: object, **values: Any) -> Response:
        """The page with the form once more, as it was filled in, and what is wrong with it."""
        return self.page(template, status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form, problems=problems, **values)

    def goto(self, path: str, **query: object) -> Response:
        """To a page of the same face, after a change. `done` is one of `messages.html`, which that page then shows."""
        return RedirectResponse(url_of(self.request, path, query), HTTPStatus.SEE_OTHER)

    def prove(self) -> None:
        """What follows needs a proof: in the console that the key was shown within 10 minutes. In the portal the form
        asks for a name instead (`typed` of `confirm.html`, and `Form.must_repeat`). Raises ProofNeeded."""
        proved = self.session.proved_at
        if self.is_console and (proved is None or datetime.now(UTC) - proved > PROOF_HOLDS):
            raise ProofNeeded(path_of(self.request))


def caller_of(session: ConsoleSession) -> Caller:
    """Who looks, as the API's functions know callers."""
    known = {str(scope) for scope in Scope}
    return Caller(
        session.key_id or session.id,  # a link of the command line has no key
        session.account_id,
        session.account,
        frozenset(Scope(scope) for scope in session.scopes if scope in known),
        session.expires_at,
        shown_at=session.seen_at,
        limits=session.limits,
        stored_bytes=session.stored_bytes,
    )
