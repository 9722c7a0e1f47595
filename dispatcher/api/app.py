"""The HTTP API: `uvicorn dispatcher.api.app:app`. Importing it connects to nothing."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from fastapi import Depends, FastAPI
from starlette.routing import Mount

from dispatcher import __version__
from dispatcher.addresses import ANY_ADDRESS
from dispatcher.api import (
    accounts,
    deliveries,
    events,
    health,
    installation,
    notices,
    oauth2,
    problems,
    redeliveries,
    webhook_actions,
    webhook_health,
    webhooks,
)
from dispatcher.api.query_parameters import known_parameters_only
from dispatcher.api.requests import RequestIds
from dispatcher.dialects.bulksms import app as bulksms
from dispatcher.dialects.everlytic import app as everlytic
from dispatcher.dialects.flexengage import app as flexengage
from dispatcher.dialects.sinch import app as sinch
from dispatcher.dialects.zipwhip import app as zipwhip
from dispatcher.errors import ConfigurationError
from dispatcher.logs import configure_logs
from dispatcher.settings import load_settings

log = structlog.get_logger("dispatcher.api")


_NATIVE = (
    health,
    events,
    webhooks,
    webhook_actions,
    webhook_health,
    deliveries,
    redeliveries,
    notices,
    accounts,
    installation,
    oauth2,
)
# Others call these: probes, and OAuth2 clients, whose specification has unknown parameters passed over.
_ANY_QUERY = (health, oauth2)
DIALECTS = {
    "/bulksms": bulksms.create_app,
    "/everlytic": everlytic.create_app,
    "/flexengage": flexengage.create_app,
    "/sinch": sinch.create_app,
    "/zipwhip": zipwhip.create_app,
}


@asynccontextmanager
async def _with_our_logs(_: FastAPI) -> AsyncIterator[None]:
    # Settings that are missing or wrong are told by /readyz; they must not keep /healthz from answering.
    with suppress(ConfigurationError):
        settings = load_settings()
        configure_logs(settings)
        _take_over_server_lines()
        if settings.unsafe_allow_any_address:
            log.warning(ANY_ADDRESS)
    yield


def _take_over_server_lines() -> None:
    server = logging.getLogger("uvicorn")
    server.handlers.clear()
    server.propagate = True
    # These have no id, and hold queries; `RequestIds` writes others.
    logging.getLogger("uvicorn.access").disabled = True


def create_app() -> FastAPI:
    """A new app; settings are read with the first request that needs them."""
    app = FastAPI(
        title="dispatcher",
        version=__version__,
        description="Self-hosted webhook delivery: events go in here, callbacks come out at the subscribed webhooks.",
        # The interactive pages load scripts from elsewhere; /openapi.json has all they show.
        docs_url=None,
        redoc_url=None,
        # A redirect would lead to plain HTTP behind a proxy that ends TLS, and with it whoever follows with a key.
        redirect_slashes=False,
        lifespan=_with_our_logs,
    )
    problems.install(app)
    app.add_middleware(RequestIds)
    for module in _NATIVE:
        checks = [] if module in _ANY_QUERY else [Depends(known_parameters_only)]
        app.include_router(module.router, dependencies=checks)
    for prefix, dialect in DIALECTS.items():
        app.router.routes.append(_mounted(prefix, dialect()))
    return app


def _mounted(prefix: str, dialect: FastAPI) -> Mount:
    """With all paths below it. The framework's own pattern ends at a line feed, which a path can hold."""
    mount = Mount(prefix, dialect)
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)
    return mount


app = create_app()
