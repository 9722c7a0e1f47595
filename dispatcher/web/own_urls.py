"""URLs of this server as its callers can use them, behind a proxy too, and the server that OpenAPI names."""

from contextlib import suppress
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from dispatcher.errors import ConfigurationError
from dispatcher.web.serving import serving_of


async def own_url(request: Request) -> str:
    """A dependency: the URL that was called, without its query. It begins with the setting `public_url`; without one,
    with what the request says: scheme, host, and the root path that the server was started with."""
    return await _own(request, request.scope["path"])


OwnUrl = Annotated[str, Depends(own_url)]


def describe_itself(app: FastAPI) -> None:
    """Serves the app's description at `/openapi.json`, with the URL below which its paths are. The app must have none
    of the framework's own: that names no more than a path."""

    async def openapi(request: Request) -> JSONResponse:
        url = await _own(request, request.scope.get("root_path", ""))
        return JSONResponse({**app.openapi(), "servers": [{"url": url}]})

    app.add_route("/openapi.json", openapi, include_in_schema=False)


async def _own(request: Request, path: str) -> str:
    """Of a path as the request's scope has it. Servers differ in whether the root path is in it."""
    base = str(request.base_url).rstrip("/")
    with suppress(ConfigurationError):  # the description is there before the settings are right
        base = (await serving_of(request)).installation.settings.public_url or base
    root: str = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    if root and (path + "/").startswith(root.rstrip("/") + "/"):
        path = path[len(root.rstrip("/")) :]
    return base + quote(path)
