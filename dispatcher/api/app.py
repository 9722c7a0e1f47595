"""The HTTP API: `uvicorn dispatcher.api.app:app`. Importing it connects to nothing."""

from fastapi import FastAPI

from dispatcher import __version__
from dispatcher.api import events, health, problems
from dispatcher.api.requests import RequestIds


def create_app() -> FastAPI:
    """A new app; settings are read with the first request that needs them."""
    app = FastAPI(
        title="dispatcher",
        version=__version__,
        description="Self-hosted webhook delivery: events go in here, callbacks come out at the subscribed webhooks.",
        # The interactive pages load scripts from elsewhere; /openapi.json has all they show.
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    app.add_middleware(RequestIds)
    app.include_router(health.router)
    app.include_router(events.router)
    return app


app = create_app()
