"""The application that is mounted for flexEngage's clients: every answer in their form."""

from fastapi import FastAPI

from dispatcher import __version__
from dispatcher.api import problems
from dispatcher.api.requests import RequestIds
from dispatcher.dialects.flexengage import event_routes, webhook_routes
from dispatcher.dialects.flexengage.answers import answer


def create_app() -> FastAPI:
    """A new app, to be mounted under a prefix."""
    app = FastAPI(
        title="dispatcher: flexEngage",
        version=__version__,
        description="Webhooks of a brand and the log of their events, as flexEngage's clients know them.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app, answer)
    app.add_middleware(RequestIds, answer=answer)
    app.include_router(webhook_routes.router)
    app.include_router(event_routes.router)
    return app
