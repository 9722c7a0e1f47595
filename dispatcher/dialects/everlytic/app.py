"""The application that is mounted for Everlytic's clients: every answer in their form."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from dispatcher import __version__
from dispatcher.api import problems
from dispatcher.api.problems import Problem
from dispatcher.api.requests import RequestIds
from dispatcher.dialects.everlytic import routes
from dispatcher.dialects.everlytic.fields import PayloadRefused


def create_app() -> FastAPI:
    """A new app, to be mounted under a prefix."""
    app = FastAPI(
        title="dispatcher: Everlytic",
        version=__version__,
        description="Webhooks of transactional SMS, as Everlytic's clients know them.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app, _answer)

    @app.exception_handler(PayloadRefused)
    def _of_the_payload(_: Request, error: PayloadRefused) -> Response:
        return _answer(Problem(HTTPStatus.BAD_REQUEST, error.told))

    app.add_middleware(RequestIds, answer=_answer)
    app.include_router(routes.router)
    return app


def _answer(problem: Problem) -> Response:
    if problem.status is HTTPStatus.UNAUTHORIZED:
        return JSONResponse("Invalid credentials.", problem.status, problem.headers)
    # What a body or parameter is refused for is a bad request here, whatever it is refused for.
    refused = problem.status is HTTPStatus.UNPROCESSABLE_ENTITY
    status = HTTPStatus.BAD_REQUEST if refused else problem.status
    return JSONResponse({"status": "error", "data": problem.detail}, status, problem.headers)
