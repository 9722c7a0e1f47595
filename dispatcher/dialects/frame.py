"""The frame of a dialect: an application of its own, in which every answer has the vendor's form."""

from fastapi import APIRouter, FastAPI

from dispatcher.version import __version__
from dispatcher.web import problems
from dispatcher.web.middleware import RequestIds
from dispatcher.web.problems import Answer


def dialect_app(vendor: str, description: str, answer: Answer, *routers: APIRouter) -> FastAPI:
    """A new app, to be mounted under a prefix. `answer` writes what goes wrong, whatever it is, as the vendor does."""
    app = FastAPI(
        title=f"dispatcher: {vendor}",
        version=__version__,
        description=description,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app, answer)
    app.add_middleware(RequestIds, answer=answer)
    for router in routers:
        app.include_router(router)
    return app
