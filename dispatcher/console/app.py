"""Console and portal as apps, to be mounted. Loaded only where the console is switched on."""

from gettext import NullTranslations
from types import ModuleType

from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from dispatcher.console.brand import brand_of
from dispatcher.console.entry import by_key, by_link, entry
from dispatcher.console.errors import ErrorPages
from dispatcher.console.guard import Guard
from dispatcher.console.kinds import Kind
from dispatcher.console.pages import (
    accounts,
    audit,
    deliveries,
    events,
    keys,
    live,
    notices,
    overview,
    portal_access,
    quarantine,
    receiving,
    redeliveries,
    search,
    sessions,
    start,
    system,
    webhook_actions,
    webhook_settings,
    webhooks,
)
from dispatcher.console.rendering import Rendering
from dispatcher.console.static_files import get_static
from dispatcher.web.serving import Serving

# The modules of pages: those of both faces, and those of one.
_BOTH: tuple[ModuleType, ...] = (
    start,
    overview,
    search,
    webhook_settings,  # before `webhooks`, whose paths have an id where it has a word
    webhooks,
    events,
    deliveries,
    webhook_actions,
    notices,
    redeliveries,
    live,
)
_OF: dict[Kind, tuple[ModuleType, ...]] = {
    Kind.CONSOLE: (quarantine, accounts, portal_access, keys, sessions, audit, system),
    Kind.PORTAL: (receiving,),
}

_WORTH_PACKING = 1_000  # bytes


def routers_of(kind: Kind) -> list[APIRouter]:
    """All that one face answers, but for its static files."""
    entries = (entry, by_key if kind is Kind.CONSOLE else by_link)
    return [*entries, *(module.pages for module in (*_BOTH, *_OF[kind]))]


def face(kind: Kind, serving: Serving, translations: NullTranslations | None = None) -> FastAPI:
    """The app of one face. `translations` of its texts; None: they stay English."""
    paths = frozenset(getattr(route, "path", "") for router in routers_of(kind) for route in router.routes)
    rendering = Rendering(kind, paths, lambda: brand_of(kind, serving.installation.settings), translations)
    errors = ErrorPages(rendering)
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.serving, app.state.rendering = serving, rendering

    errors.install(app)
    app.router.routes.append(Route("/static/{name}", get_static))
    for router in routers_of(kind):
        app.include_router(router)
    app.add_middleware(GZipMiddleware, minimum_size=_WORTH_PACKING, compresslevel=5)
    app.add_middleware(Guard, errors=errors)
    return app
