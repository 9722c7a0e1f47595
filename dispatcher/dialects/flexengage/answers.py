"""What flexEngage answers: errors, and how OpenAPI describes them."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse, Response

from dispatcher.web.problems import Problem

_ERROR = {
    "type": "object",
    "required": ["message", "description", "status"],
    "properties": {
        "message": {"type": "string"},
        "description": {"type": "string"},
        "status": {"type": "integer"},
        "validations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_MESSAGES = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "UNPROCESSABLE ENTITY",  # Python's own phrase changed
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal Server Error",
}
_DESCRIPTIONS = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "There are errors in the request",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server encountered an unexpected error.",
}
# Parameters are checked by the framework, whose texts are no sentences about them.
_PARAMETERS = {
    "size": "must be a whole number from 1 to 100",
    "start": "must be a date and time with its offset from UTC",
    "end": "must be a date and time with its offset from UTC",
    "startId": "must be a UUID",
}


def answer(problem: Problem) -> Response:
    """A problem as the vendor's clients know it."""
    status = problem.status
    document: dict[str, Any] = {
        "message": _MESSAGES.get(status, status.phrase.upper()),
        "description": _DESCRIPTIONS.get(status, problem.detail),
        "status": status.value,
    }
    if problem.errors:
        document["validations"] = {
            field: f"{field} {_PARAMETERS.get(field, reason)}" for field, reason in problem.errors
        }
    return JSONResponse(document, status, problem.headers)


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors: these, and those that every route has."""
    content = {"application/json": {"schema": _ERROR}}
    everywhere = (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    return {status.value: {"description": status.phrase, "content": content} for status in (*statuses, *everywhere)}
