"""Zipwhip's API as an application of its own, to be mounted."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from dispatcher import __version__
from dispatcher.api import problems
from dispatcher.api.requests import RequestIds
from dispatcher.dialects.zipwhip.answers import answer, answer_to, refusal
from dispatcher.dialects.zipwhip.parameters import Refused
from dispatcher.dialects.zipwhip.routes import router
from dispatcher.errors import DispatcherError


def create_app() -> FastAPI:
    """The application; whatever goes wrong in it is answered in the vendor's form."""
    app = FastAPI(
        title="dispatcher: Zipwhip dialect",
        version=__version__,
        description="Webhooks, as clients of Zipwhip's API manage them.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app, answer)

    @app.exception_handler(DispatcherError)
    def _of_the_tree(_: Request, error: DispatcherError) -> JSONResponse:
        return answer_to(error)

    @app.exception_handler(Refused)
    def _refused(_: Request, error: Refused) -> JSONResponse:
        return refusal(str(error))

    app.add_middleware(RequestIds, answer=answer)
    app.include_router(router)
    return app
