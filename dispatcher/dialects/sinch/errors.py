"""Sinch's error bodies: both flat, as published, and nested, as its Python clients read them."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from dispatcher.dialects.frame import Vendor
from dispatcher.errors import DispatcherError, UnknownAccount
from dispatcher.web.problems import Problem

_STATUSES = {
    HTTPStatus.BAD_REQUEST: "INVALID_REQUEST",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "UNAUTHORIZED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.METHOD_NOT_ALLOWED: "METHOD_NOT_ALLOWED",
    HTTPStatus.REQUEST_TIMEOUT: "INVALID_REQUEST",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "INVALID_REQUEST",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL_ERROR",
}
# The published texts. For other statuses, the text says what is wrong.
_TEXTS = {
    HTTPStatus.UNAUTHORIZED: "Request had invalid credentials.",
    HTTPStatus.FORBIDDEN: "You do not have access to the requested resource.",
    HTTPStatus.NOT_FOUND: "The requested resource was not found.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "There was an internal server error.",
}


def _answer(problem: Problem) -> Response:
    status = problem.status
    flat: dict[str, Any] = {
        "code": status.value,
        "message": _TEXTS.get(status, problem.detail),
        "status": _STATUSES.get(status, "INVALID_REQUEST" if status < 500 else "INTERNAL_ERROR"),
        "details": [],
    }
    return JSONResponse({**flat, "error": flat}, status.value, problem.headers)


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message", "status", "details", "error"],
    "properties": {
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "status": {"type": "string"},
        "details": {"type": "array", "items": {}},
        "error": {"type": "object", "required": ["code", "message", "status", "details"]},
    },
}


def _problem_of(_: Request, error: DispatcherError) -> Problem | None:
    if isinstance(error, UnknownAccount):
        return Problem(HTTPStatus.FORBIDDEN, "the key does not act for this project")
    return None


SINCH = Vendor(
    name="sinch",
    title="Sinch",
    about="Webhooks of a project's apps, for clients of Sinch's Conversation API.",
    answer=_answer,
    error_schema=_SCHEMA,
    errors=(HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
    problem_of=_problem_of,
    refusal=HTTPStatus.BAD_REQUEST,
    field_names={"url": "target", "app": "app_id", "nonce_secret": "secret"},
    shows_secrets=True,
)
