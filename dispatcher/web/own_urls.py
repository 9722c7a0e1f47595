"""URLs of this server as callers can use them, also behind a proxy, and the server in OpenAPI documents."""

import json
from contextlib import suppress
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response

from dispatcher.errors import ConfigurationError
from dispatcher.web.serving import PAGE_TURN, serving_of


async def own_url(request: Request) -> str:
    """A dependency: the URL that was called, without its query. It starts with the setting `public_url`; without one,
    with the request's scheme and host, and the root path that the server was started with."""
    return await _own(request, request.scope["path"])


OwnUrl = Annotated[str, Depends(own_url)]


def describe_itself(app: FastAPI) -> None:
    """Serves the app's description at `/openapi.json`, with the URL that its paths are relative to. The app must not
    serve the framework's own: that one has only a path as the server."""

    app.state.description = None  # all of it but the server: it is large, and anybody may ask for it

    async def openapi(request: Request) -> Response:
        servers = json.dumps([{"url": await _own(request, request.scope.get("root_path", ""))}])
        if app.state.description is None:
            document = {name: value for name, value in app.openapi().items() if name != "servers"}
            app.state.description = json.dumps(document, separators=(",", ":"))
        return Response(f'{{"servers": {servers}, {app.state.description[1:]}', media_type="application/json")

    app.add_api_route(
        "/openapi.json", openapi, methods=["GET", "HEAD"], include_in_schema=False, dependencies=[PAGE_TURN]
    )


async def _own(request: Request, path: str) -> str:
    """The URL of a path as in the request's scope. Servers differ in whether the root path is in it."""
    base = str(request.base_url).rstrip("/")
    with suppress(ConfigurationError):  # the description is served even if settings are invalid
        base = (await serving_of(request)).installation.settings.public_url or base
    root: str = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    if root and (path + "/").startswith(root.rstrip("/") + "/"):
        path = path[len(root.rstrip("/")) :]
    return base + quote(path)
