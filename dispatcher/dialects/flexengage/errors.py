"""flexEngage's error answers, and their OpenAPI description."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from dispatcher.dialects.frame import Vendor
from dispatcher.errors import DispatcherError, NotFound, UnknownAccount
from dispatcher.web.problems import Problem

_NO_EVENT = "No event with that ID was found"
# By the name of the route's function. The others answer `_NO_EVENT`, also if the brand or the webhook is not found.
_NO_WEBHOOK = {
    "list_": "No webhooks with that brand ID were found",
    "get": "A webhook with ID: {id} for brandId: {brandId} was not found",
    "switch": "No webhook with that brand ID was found",
    "delete": "No webhooks with that brand ID were found",
    "list_events": "No webhook with that brand ID was found",
}

_SCHEMA = {
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
    HTTPStatus.UNPROCESSABLE_ENTITY: "UNPROCESSABLE ENTITY",  # Python's own phrase differs between versions
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal Server Error",
}
_DESCRIPTIONS = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "There are errors in the request",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server encountered an unexpected error.",
}
# The framework checks the parameters, but its texts do not form a sentence with the parameter's name.
_PARAMETERS = {
    "size": "must be a whole number from 1 to 100",
    "start": "must be a date and time with its offset from UTC",
    "end": "must be a date and time with its offset from UTC",
    "startId": "must be a UUID",
}


def _answer(problem: Problem) -> Response:
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


def _problem_of(request: Request, error: DispatcherError) -> Problem | None:
    call = request.scope["endpoint"].__name__
    match error:
        case UnknownAccount() if call == "create":
            return Problem(HTTPStatus.FORBIDDEN, "The brand ID is not one that this access token may act for")
        case NotFound(kind="account" | "webhook"):
            detail = _NO_WEBHOOK.get(call, _NO_EVENT).format(**request.path_params)
            return Problem(HTTPStatus.NOT_FOUND, detail)
        case NotFound():
            return Problem(HTTPStatus.NOT_FOUND, _NO_EVENT)
        case _:
            return None


FLEXENGAGE = Vendor(
    name="flexengage",
    title="flexEngage",
    about="Webhooks of a brand and the log of their events, for flexEngage's clients.",
    answer=_answer,
    error_schema=_SCHEMA,
    problem_of=_problem_of,
    field_names={"url": "endpoint", "event_types": "events"},
)
