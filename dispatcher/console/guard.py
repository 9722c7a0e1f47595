"""What every answer and every request of console and portal goes through, before any page is asked: the headers that
bind browsers, and the refusal of what another site makes a browser send."""

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dispatcher.console.cookies import is_safe, read_cookies
from dispatcher.console.errors import ErrorPages
from dispatcher.web.problems import Problem

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors {}"
)
_READING = frozenset({"GET", "HEAD"})
_YEAR = "max-age=31536000"
_NEEDS_TLS = (
    "This address is plain http, so a password or a session could be read on its way. Open it over https, or on the "
    "machine itself at http://127.0.0.1."
)
_OTHER_SITE = (
    "The browser does not say that this came from a page of this site, so nothing was done. Go to the page and press "
    "its button there."
)


class Guard:
    """Around the app of one face. `request.state.framed_by` may name origins whose pages may frame this answer."""

    def __init__(self, app: ASGIApp, errors: ErrorPages) -> None:
        self._app, self._errors = app, errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                framed_by = scope.get("state", {}).get("framed_by", "'none'")
                _bind(MutableHeaders(scope=message), framed_by, is_https=request.url.scheme == "https")
            await send(message)

        try:
            read_cookies(request)
        except Problem as problem:
            app: ASGIApp = self._errors.page(request, problem)
        else:
            app = self._app_for(request)
        await app(scope, receive, send_guarded)

    def _app_for(self, request: Request) -> ASGIApp:
        if not is_safe(request):
            return self._errors.page(request, Problem(HTTPStatus.FORBIDDEN, _NEEDS_TLS))
        if request.method not in _READING and request.headers.get("sec-fetch-site") != "same-origin":
            return self._errors.page(request, Problem(HTTPStatus.FORBIDDEN, _OTHER_SITE))
        return self._app


def _bind(headers: MutableHeaders, framed_by: str, *, is_https: bool) -> None:
    headers["Content-Security-Policy"] = _POLICY.format(framed_by)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store")
    if framed_by == "'none'":
        headers["X-Frame-Options"] = "DENY"
    if is_https:
        headers["Strict-Transport-Security"] = _YEAR
