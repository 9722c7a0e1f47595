"""Console and portal as apps, to be mounted. Loaded only where the console is switched on."""

from functools import cache
from gettext import NullTranslations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from dispatcher.console.attempts import Attempts
from dispatcher.console.entry import by_key, entry
from dispatcher.console.errors import ErrorPages
from dispatcher.console.guard import Guard
from dispatcher.console.kinds import Kind
from dispatcher.console.pages import start, webhooks
from dispatcher.console.rendering import Rendering
from dispatcher.console.static_files import get_static
from dispatcher.web.serving import Serving

_BOTH = (start, webhooks)
_CONSOLE = ()
_PORTAL = ()

_WORTH_PACKING = 1_000  # bytes


def face(kind: Kind, serving: Serving, translations: NullTranslations | None = None) -> FastAPI:
    """The app of one face. `translations` of its texts; None: they stay English."""
    rendering = Rendering(kind, translations)
    errors = ErrorPages(rendering)
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.serving, app.state.rendering = serving, rendering

    @cache
    def attempts() -> Attempts:
        return Attempts(serving.installation.settings.broker_url.get_secret_value())

    app.state.attempts = attempts
    errors.install(app)
    app.router.routes.append(Route("/static/{name}", get_static))
    for router in (entry, *((by_key,) if kind is Kind.CONSOLE else ())):
        app.include_router(router)
    for module in (*_BOTH, *(_CONSOLE if kind is Kind.CONSOLE else _PORTAL)):
        app.include_router(module.pages)
    rendering.pages = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(GZipMiddleware, minimum_size=_WORTH_PACKING, compresslevel=5)
    app.add_middleware(Guard, errors=errors)
    return app
