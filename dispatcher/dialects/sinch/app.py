"""The application that speaks Sinch's dialect; mount it under `/sinch`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from dispatcher import __version__
from dispatcher.api.problems import Problem, problem_for, unavailable
from dispatcher.db.outages import explain_outage
from dispatcher.dialects.sinch import answers, routes
from dispatcher.errors import DispatcherError, InvalidInput, NotFound


def create_app() -> FastAPI:
    """A new application."""
    app = FastAPI(title="Sinch Conversation webhooks", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(routes.router)
    _install(app)
    return app


def _install(app: FastAPI) -> None:
    """Gives every error the vendor's form."""

    @app.exception_handler(Problem)
    def _problem(_: Request, problem: Problem) -> JSONResponse:
        return _answer(problem)

    @app.exception_handler(DispatcherError)
    def _of_the_tree(_: Request, error: DispatcherError) -> JSONResponse:
        match error:
            case InvalidInput():
                return answers.error(HTTPStatus.BAD_REQUEST, str(error))
            case NotFound():
                return answers.error(HTTPStatus.NOT_FOUND, "The requested resource was not found.")
            case _:
                return _answer(problem_for(error))

    @app.exception_handler(SQLAlchemyError)
    def _of_the_database(_: Request, error: SQLAlchemyError) -> JSONResponse:
        if explain_outage(error) is None:
            raise error
        return _answer(unavailable("the database is not available at the moment"))

    @app.exception_handler(RequestValidationError)
    def _of_parameters(_: Request, __: RequestValidationError) -> JSONResponse:
        return answers.error(HTTPStatus.BAD_REQUEST, "Malformed request")

    @app.exception_handler(HTTPException)
    def _of_the_framework(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        return answers.error(status, status.description or status.phrase, _texts(error.headers))

    @app.exception_handler(Exception)
    def _defect(_: Request, __: Exception) -> JSONResponse:
        return answers.error(HTTPStatus.INTERNAL_SERVER_ERROR, answers.INTERNAL)


def _answer(problem: Problem) -> JSONResponse:
    texts = {HTTPStatus.UNAUTHORIZED: answers.UNAUTHENTICATED, HTTPStatus.FORBIDDEN: answers.FORBIDDEN}
    message = answers.INTERNAL if problem.status.value == 500 else texts.get(problem.status, problem.detail)
    return answers.error(problem.status, message, _texts(problem.headers))


def _texts(headers: Mapping[str, Any] | None) -> dict[str, str] | None:
    return {name: str(value) for name, value in headers.items()} if headers else None
