"""Pages for what does not work: what happened, what to do next, and the id to ask with."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dispatcher.console.rendering import Rendering
from dispatcher.console.urls import url_of
from dispatcher.errors import DispatcherError
from dispatcher.masking.refusals import refusal
from dispatcher.web.problems import Problem, internal_error, invalid, problem_of


class LoginNeeded(Exception):
    """Nobody is signed in. `back` is the path that is wanted."""

    def __init__(self, back: str) -> None:
        super().__init__("nobody is signed in")
        self.back = back


class ProofNeeded(Exception):
    """Who is signed in must show the key again first. `back` is the path that is wanted."""

    def __init__(self, back: str) -> None:
        super().__init__("the key must be shown again")
        self.back = back


class ErrorPages:
    """Turns what ends a request of one face into a page."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering

    def page(self, request: Request, problem: Problem) -> Response:
        """The page of a problem. What htmx asked for leaves the page as it is: its script tells, or goes there."""
        headers: dict[str, str] = dict(problem.headers or {})
        if "hx-request" in request.headers and request.method == "GET":
            return Response(status_code=problem.status, headers={**headers, "HX-Reswap": "none"})
        return self._rendering.answer(
            request,
            "error.html",
            {"problem": problem, "request_id": request.state.id, "wait": headers.get("Retry-After")},
            status=problem.status,
            headers=headers,
        )

    def install(self, app: FastAPI) -> None:
        """For all that its pages raise."""

        @app.exception_handler(Problem)
        @app.exception_handler(DispatcherError)
        @app.exception_handler(SQLAlchemyError)
        async def _of_ours(request: Request, error: Exception) -> Response:
            return self.page(request, problem_of(error))

        @app.exception_handler(RequestValidationError)
        async def _of_parameters(request: Request, error: RequestValidationError) -> Response:
            parts = error.errors()
            if any(part["loc"][0] == "path" for part in parts):  # what is no id is nothing's id
                return self.page(request, Problem(HTTPStatus.NOT_FOUND, "there is no such page"))
            wrong = ((".".join(map(str, part["loc"][1:])), refusal(part)) for part in parts)
            return self.page(request, invalid(*wrong))

        @app.exception_handler(HTTPException)
        async def _of_the_framework(request: Request, error: HTTPException) -> Response:
            status = HTTPStatus(error.status_code)
            text = "there is no such page" if status is HTTPStatus.NOT_FOUND else status.description
            return self.page(request, Problem(status, text, headers=error.headers))

        @app.exception_handler(LoginNeeded)
        async def _login(request: Request, error: LoginNeeded) -> Response:
            return _away(request, "/login", error.back)

        @app.exception_handler(ProofNeeded)
        async def _prove(request: Request, error: ProofNeeded) -> Response:
            return _away(request, "/prove", error.back)

        @app.exception_handler(Exception)
        async def _defect(request: Request, _: Exception) -> Response:
            return self.page(request, internal_error())  # the framework raises it on, so it is logged


def _away(request: Request, path: str, back: str) -> Response:
    query: Mapping[str, str] = {"next": back} if back != "/" else {}
    url = url_of(request, path, query)
    if "hx-request" in request.headers:  # a redirect would be followed, and its page put where a part is awaited
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": url})
    return RedirectResponse(url, HTTPStatus.SEE_OTHER)
