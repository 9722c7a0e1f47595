"""Errors in BulkSMS's form: problem objects as plain JSON, with BulkSMS's types and texts."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from dispatcher.dialects.frame import Vendor
from dispatcher.errors import DispatcherError, NameTaken, NotFound, UrlVerificationFailed
from dispatcher.web.problems import Problem

_ERRORS = "https://developer.bulksms.com/json/v1/errors"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def _answer(problem: Problem) -> JSONResponse:
    status, headers = problem.status, problem.headers
    title = status.phrase
    place, detail = f"/#{title.lower().replace(' ', '-')}", problem.detail
    if status is HTTPStatus.UNAUTHORIZED:
        place, title = "#authentication-failed", "Authentication Failed"
        detail = "Full authentication is required to access this resource"
        headers = {"WWW-Authenticate": 'Basic realm="dispatcher"'}
    document = {"type": _ERRORS + place, "title": title, "status": status.value, "detail": detail}
    return JSONResponse(document, status.value, headers)


def _problem_of(request: Request, error: DispatcherError) -> Problem | None:
    match error:
        case UrlVerificationFailed(came_back=came_back):
            detail = f"Invoking the Webhook URL caused an error: {came_back}"
            return Problem(HTTPStatus.BAD_REQUEST, detail)
        case NameTaken():
            return Problem(HTTPStatus.BAD_REQUEST, "More than one webhook cannot have the same name")
        case NotFound():
            asked = request.path_params["id"]
            return Problem(HTTPStatus.NOT_FOUND, f"Webhook with id '{asked}' does not exist")
        case _:
            return None


BULKSMS = Vendor(
    name="bulksms",
    title="BulkSMS",
    about="Webhooks, for clients of BulkSMS's JSON REST API.",
    answer=_answer,
    error_schema=_SCHEMA,
    problem_of=_problem_of,
    refusal=HTTPStatus.BAD_REQUEST,
    field_names={"contact_email": "contactEmailAddress"},
    numbered=True,
    verifies_urls=True,
)
