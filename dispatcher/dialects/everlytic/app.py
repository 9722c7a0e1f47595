"""Everlytic's API as an application of its own, to be mounted."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from dispatcher.dialects.everlytic.fields import PayloadRefused
from dispatcher.dialects.everlytic.routes import router
from dispatcher.dialects.frame import dialect_app
from dispatcher.web.problems import Problem

_ABOUT = "Webhooks of transactional SMS, as Everlytic's clients manage them."


def create_app() -> FastAPI:
    """A new app."""
    app = dialect_app(
        "Everlytic", "Webhooks of transactional SMS, as Everlytic's clients manage them.", _answer, router
    )

    @app.exception_handler(PayloadRefused)
    def _of_the_payload(_: Request, error: PayloadRefused) -> Response:
        return _answer(Problem(HTTPStatus.BAD_REQUEST, error.told))

    return app


def _answer(problem: Problem) -> Response:
    if problem.status is HTTPStatus.UNAUTHORIZED:
        return JSONResponse("Invalid credentials.", problem.status, problem.headers)
    # What a body or parameter is refused for is a bad request here, whatever it is refused for.
    refused = problem.status is HTTPStatus.UNPROCESSABLE_ENTITY
    status = HTTPStatus.BAD_REQUEST if refused else problem.status
    return JSONResponse({"status": "error", "data": problem.detail}, status, problem.headers)
