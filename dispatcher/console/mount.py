"""Where console and portal are in the API: at their paths, and nowhere while they are switched off. The first request
loads them, so an API without them has nothing of them."""

from collections.abc import Callable
from http import HTTPStatus
from threading import Lock

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dispatcher.console.kinds import Kind
from dispatcher.web.serving import Serving


class Face:
    """One of them. `tidy` is called when it was made: making templates leaves much more behind than they take."""

    def __init__(self, kind: Kind, serving: Serving, tidy: Callable[[], None]) -> None:
        self._kind, self._serving, self._tidy = kind, serving, tidy
        self._app: ASGIApp | None = None
        self._lock = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._demand_on()
        await self.app(scope, receive, send)

    def lead_in(self, request: Request) -> RedirectResponse:
        """Its address without the slash at the end, as people type it: leads to its start."""
        self._demand_on()
        return RedirectResponse(f"{request.scope.get('root_path', '')}/{self._kind}/", HTTPStatus.SEE_OTHER)

    def _demand_on(self) -> None:
        if self._serving.installation.settings.console == "off":
            raise HTTPException(404)

    @property
    def app(self) -> ASGIApp:
        """It, made when it is first needed."""
        from dispatcher.console.app import face  # noqa: PLC0415 - only where it is switched on

        with self._lock:
            if self._app is None:
                self._app = face(self._kind, self._serving)
                self._tidy()
            return self._app
