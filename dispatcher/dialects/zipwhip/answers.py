"""Errors in Zipwhip's form: `success` is false, and `response` says why."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from dispatcher.errors import DispatcherError, InvalidInput, NotFound
from dispatcher.web.problems import Problem, problem_for

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["success", "response"],
    "properties": {"success": {"type": "boolean", "enum": [False]}, "response": {"type": "string"}},
}
_STATUSES = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def refusal(reason: str) -> JSONResponse:
    """What a call gets that was understood and refused: the status says nothing."""
    return JSONResponse({"success": False, "response": reason})


def answer(problem: Problem) -> JSONResponse:
    """What went wrong around a call: here the status tells as well."""
    return JSONResponse({"success": False, "response": problem.detail}, problem.status.value, problem.headers)


def answer_to(error: DispatcherError) -> JSONResponse:
    """What an error of the tree is here."""
    match error:
        case InvalidInput() | NotFound():
            return refusal(str(error))
        case _:
            return answer(problem_for(error))


def described() -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of what any route can answer besides 200."""
    content = {"application/json": {"schema": _SCHEMA}}
    return {status.value: {"description": status.phrase, "content": content} for status in _STATUSES}
