"""What browsers send as cookies. Console and portal alone read them. The framework reads those of every request, before
anything is asked of it, and unquotes them at a cost that grows with the square of their length on Python before 3.11.10
and 3.12.6 (CVE-2024-7592). So it finds none."""

from starlette.types import ASGIApp, Receive, Scope, Send

_STATE = "cookie_header"
_NAME = b"cookie"


class CookiesAside:
    """Around an app: takes the cookies out of the headers of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            cookies = [value for name, value in scope["headers"] if name == _NAME]
            if cookies:
                scope["headers"] = [header for header in scope["headers"] if header[0] != _NAME]
                scope.setdefault("state", {})[_STATE] = b"; ".join(cookies)
        await self._app(scope, receive, send)


def cookie_header(scope: Scope) -> bytes:
    """The cookies that came with a request, all its headers of them together, not taken apart."""
    header: bytes = scope.get("state", {}).get(_STATE, b"")
    return header
