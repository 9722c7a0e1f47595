"""Sinch's error bodies: flat as published, and nested as its Python clients read them, in one (contracts, 5 and 8)."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

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
}
UNAUTHENTICATED = "Request had invalid credentials."
FORBIDDEN = "You do not have access to the requested resource."
INTERNAL = "There was an internal server error."


def error(status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is no success."""
    flat: dict[str, Any] = {
        "code": status.value,
        "message": message,
        "status": _STATUSES.get(status, "INTERNAL_ERROR"),
        "details": [],
    }
    return JSONResponse({**flat, "error": flat}, status.value, headers)


ERROR_SCHEMA: dict[str, Any] = {
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


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors."""
    content = {"application/json": {"schema": ERROR_SCHEMA}}
    return {status.value: {"description": status.phrase, "content": content} for status in statuses}
