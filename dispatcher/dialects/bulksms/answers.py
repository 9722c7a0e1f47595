"""Errors in BulkSMS's form: problem objects as plain JSON, with its types and texts."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from dispatcher.dialects.bulksms.fields import vendor_name
from dispatcher.errors import DispatcherError, InvalidInput, NameTaken, NotFound, UrlTestFailed
from dispatcher.web.problems import Problem, problem_for

_ERRORS = "https://developer.bulksms.com/json/v1/errors"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def answer(problem: Problem) -> JSONResponse:
    """A problem in the vendor's form."""
    status, headers = problem.status, problem.headers
    title = status.phrase
    place, detail = f"/#{title.lower().replace(' ', '-')}", problem.detail
    if status is HTTPStatus.UNAUTHORIZED:
        place, title = "#authentication-failed", "Authentication Failed"
        detail = "Full authentication is required to access this resource"
        headers = {"WWW-Authenticate": 'Basic realm="dispatcher"'}
    document = {"type": _ERRORS + place, "title": title, "status": status.value, "detail": detail}
    return JSONResponse(document, status.value, headers)


def problem_of(request: Request, error: DispatcherError) -> Problem:
    """What an error of the tree is here."""
    match error:
        case UrlTestFailed(came_back=came_back):
            detail = f"Invoking the Webhook URL caused an error: {came_back}"
            return Problem(HTTPStatus.BAD_REQUEST, detail)
        case InvalidInput(field=field, reason=reason):
            return Problem(HTTPStatus.BAD_REQUEST, f"{vendor_name(field)} {reason}")
        case NameTaken():
            return Problem(HTTPStatus.BAD_REQUEST, "More than one webhook cannot have the same name")
        case NotFound():
            asked = request.path_params["id"]
            return Problem(HTTPStatus.NOT_FOUND, f"Webhook with id '{asked}' does not exist")
        case _:
            return problem_for(error)


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors: these, and those that any route can have."""
    always = (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    content = {"application/json": {"schema": SCHEMA}}
    return {status.value: {"description": status.phrase, "content": content} for status in (*statuses, *always)}
