"""The HTTP API, run by `dispatcher.web`. Importing it connects to nothing."""

import gc
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import structlog
from fastapi import Depends, FastAPI
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dispatcher.api import accounts, audit, health, installation, limits, openapi, portal, series, usage
from dispatcher.api.deliveries import bulk_redelivery as redeliveries
from dispatcher.api.deliveries import routes as deliveries
from dispatcher.api.deliveries import to_one_webhook
from dispatcher.api.events import routes as events
from dispatcher.api.events.shortcut import Shortcut
from dispatcher.api.metrics import routes as metrics
from dispatcher.api.pages import contact as contact_page
from dispatcher.api.pages import routes as pages
from dispatcher.api.webhooks import actions as webhook_actions
from dispatcher.api.webhooks import contacts, notices
from dispatcher.api.webhooks import health as webhook_health
from dispatcher.api.webhooks import routes as webhooks
from dispatcher.console.kinds import Kind
from dispatcher.console.mount import Face
from dispatcher.dialects.bulksms import routes as bulksms
from dispatcher.dialects.bulksms.errors import BULKSMS
from dispatcher.dialects.everlytic import routes as everlytic
from dispatcher.dialects.everlytic.errors import EVERLYTIC
from dispatcher.dialects.flexengage import event_routes as flexengage_events
from dispatcher.dialects.flexengage import webhook_routes as flexengage_webhooks
from dispatcher.dialects.flexengage.errors import FLEXENGAGE
from dispatcher.dialects.frame import dialect_app
from dispatcher.dialects.sinch import routes as sinch
from dispatcher.dialects.sinch.errors import SINCH
from dispatcher.dialects.zipwhip import routes as zipwhip
from dispatcher.dialects.zipwhip.errors import ZIPWHIP
from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.logs.configure import configure_logs
from dispatcher.logs.output import is_configured
from dispatcher.logs.settings import LogSettings
from dispatcher.memory import collect_rarely, give_back
from dispatcher.settings import read_settings
from dispatcher.version import __version__
from dispatcher.web import oauth2, problems
from dispatcher.web.cookie_header import CookiesAside
from dispatcher.web.heartbeats import Heartbeats
from dispatcher.web.middleware import RequestIds
from dispatcher.web.own_urls import describe_itself
from dispatcher.web.query_parameters import known_parameters_only
from dispatcher.web.serving import Serving

log = structlog.get_logger("dispatcher.api")


_NATIVE = (
    health,
    events,
    webhooks,
    webhook_actions,
    webhook_health,
    series,
    deliveries,
    redeliveries,
    to_one_webhook,
    notices,
    contacts,
    limits,
    usage,
    portal,
    accounts,
    audit,
    installation,
    metrics,
    oauth2,
)
# Programs that we do not control call these: health probes, Prometheus, and OAuth2 clients, whose standard says to
# ignore unknown parameters.
_ANY_QUERY = (health, metrics, oauth2)
DIALECTS: dict[str, Callable[[], FastAPI]] = {
    "/bulksms": partial(dialect_app, BULKSMS, bulksms.router),
    "/everlytic": partial(dialect_app, EVERLYTIC, everlytic.router),
    "/flexengage": partial(dialect_app, FLEXENGAGE, flexengage_webhooks.router, flexengage_events.router),
    "/sinch": partial(dialect_app, SINCH, oauth2.router, sinch.router),
    "/zipwhip": partial(dialect_app, ZIPWHIP, zipwhip.router),
}


_THREADS = 40  # of the framework, for what is no coroutine


class _Api(FastAPI):
    """The framework's app, with a shortcut before it."""

    def __init__(self, serving: Serving, **described: Any) -> None:
        super().__init__(**described)
        self.state.serving = serving
        self._shortcut = Shortcut(CookiesAside(super().__call__), serving)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._shortcut(scope, receive, send)


@asynccontextmanager
async def _begun(app: FastAPI) -> AsyncIterator[None]:
    # `/readyz` reports missing or invalid settings; `/healthz` must answer regardless.
    serving: Serving = app.state.serving
    with suppress(ConfigurationError):
        settings = serving.installation.settings
        if not is_configured():  # the server was started by others
            configure_logs(LogSettings(), "api")
        for warning in settings.warnings:
            log.warning(warning)
    give_back()  # starting takes much more memory than what stays
    gc.freeze()
    collect_rarely()
    heartbeats = Heartbeats(lambda: serving.served)
    heartbeats.begin()
    try:
        yield
    finally:
        heartbeats.end()
        serving.close()


def create_app(installation: Installation | None = None) -> FastAPI:
    """A new app for an installation. Without one, the app serves that of this process's settings. They are read at the
    first request that needs them; `/healthz` answers even if they are invalid."""
    serving = Serving(lambda: installation or Installation(read_settings(), threads=_THREADS))
    app = _Api(
        serving,
        title="dispatcher",
        version=__version__,
        description=openapi.DESCRIPTION,
        license_info=openapi.LICENSE,
        servers=openapi.SERVERS,
        openapi_tags=openapi.TAGS,
        openapi_url=None,
        # Behind a proxy that ends TLS, a redirect would lead to plain HTTP, and a client would send its key there.
        redirect_slashes=False,
        lifespan=_begun,
    )
    problems.install(app)
    openapi.complete(app)
    describe_itself(app)
    app.add_middleware(RequestIds, log=serving.access_log, counts=serving.counts)
    for module in _NATIVE:
        checks = [] if module in _ANY_QUERY else [Depends(known_parameters_only)]
        app.include_router(module.router, dependencies=checks)
    pages.install(app)
    app.include_router(contact_page.router)
    for prefix, dialect in DIALECTS.items():
        mounted = dialect()
        mounted.state.serving, mounted.state.prefix = serving, prefix
        app.router.routes.append(_mounted(prefix, mounted))
    for kind in Kind:
        face = Face(kind, serving, give_back)
        app.router.routes += [Route(f"/{kind}", face.lead_in), _mounted(f"/{kind}", face)]
    return app


def _mounted(prefix: str, inner: ASGIApp) -> Mount:
    """A mount that takes all paths below its prefix. The framework's pattern stops at a line feed, which is allowed in
    a path."""
    mount = Mount(prefix, inner)
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)
    return mount


app = create_app()
