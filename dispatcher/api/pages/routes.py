"""`/`: what is served here. `/docs`: the API's documentation, generated from its OpenAPI document. Neither needs a key,
a script or another host, and neither reveals more about the installation than its version."""

from functools import cached_property
from importlib.resources import files

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from dispatcher.api.pages.reference import groups_of
from dispatcher.api.pages.templating import headers, templates
from dispatcher.web.serving import PAGE_TURN

_HEADERS = headers()
_LINKS = {"documentation": "docs", "openapi": "openapi.json", "alive": "healthz", "ready": "readyz"}


def install(app: FastAPI) -> None:
    """Adds the pages to the app whose document they show."""
    pages = _Pages(app)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def get_home(request: Request) -> Response:
        accepted = request.headers.get("accept", "")
        varied = {**_HEADERS, "Vary": "Accept"}
        if "application/json" in accepted and "text/html" not in accepted:
            root = request.scope.get("root_path", "")
            links = {name: f"{root}/{path}" for name, path in _LINKS.items()}
            return JSONResponse({"name": app.title, "version": app.version, "links": links}, headers=varied)
        return HTMLResponse(pages.home, headers=varied)

    @router.get("/docs", dependencies=[PAGE_TURN])
    def get_docs() -> Response:
        return HTMLResponse(pages.docs, headers=_HEADERS)

    @router.get("/docs/style.css")
    def get_style() -> Response:
        return Response(pages.style, media_type="text/css", headers=_HEADERS)

    app.include_router(router)


class _Pages:
    """Each page is rendered once, at its first request: the document does not change."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @cached_property
    def home(self) -> str:
        return templates().get_template("home.html.j2").render(app=self._app)

    @cached_property
    def docs(self) -> str:
        document = self._app.openapi()
        server = document["servers"][0]["url"]
        template = templates().get_template("docs.html.j2")
        return template.render(info=document["info"], server=server, groups=groups_of(document))

    @cached_property
    def style(self) -> str:
        return (files("dispatcher.api.pages") / "templates" / "style.css").read_text()
