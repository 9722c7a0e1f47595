"""The application that is mounted for Sinch's clients: every answer in their form."""

from fastapi import FastAPI

from dispatcher import __version__
from dispatcher.api import oauth2, problems
from dispatcher.api.requests import RequestIds
from dispatcher.dialects.sinch import routes
from dispatcher.dialects.sinch.answers import answer


def create_app() -> FastAPI:
    """A new app, to be mounted under a prefix."""
    app = FastAPI(
        title="dispatcher: Sinch",
        version=__version__,
        description="Webhooks of a project's apps, as clients of Sinch's Conversation API know them.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app, answer)
    app.add_middleware(RequestIds, answer=answer)
    app.include_router(oauth2.router)
    app.include_router(routes.router)
    return app
