"""Everlytic's error answers, and their OpenAPI description."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from dispatcher.dialects.everlytic.fields import PayloadRefused, refusal
from dispatcher.dialects.frame import Vendor
from dispatcher.errors import DispatcherError, InvalidWebhook
from dispatcher.web.problems import Problem

_SCHEMA = {
    "type": "object",
    "required": ["status", "data"],
    "properties": {"status": {"const": "error"}, "data": {"type": "string"}},
}


def _answer(problem: Problem) -> Response:
    if problem.status is HTTPStatus.UNAUTHORIZED:
        return JSONResponse("Invalid credentials.", problem.status, problem.headers)
    return JSONResponse({"status": "error", "data": problem.detail}, problem.status, problem.headers)


def _problem_of(_: Request, error: DispatcherError) -> Problem | None:
    match error:
        case InvalidWebhook(field=name, reason=reason):
            return Problem(HTTPStatus.BAD_REQUEST, refusal(name, reason).text)
        case PayloadRefused(text=text):
            return Problem(HTTPStatus.BAD_REQUEST, text)
        case _:
            return None


EVERLYTIC = Vendor(
    name="everlytic",
    title="Everlytic",
    about="Webhooks for transactional SMS, for Everlytic's clients.",
    answer=_answer,
    error_schema=_SCHEMA,
    errors=(HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
    problem_of=_problem_of,
    refusal=HTTPStatus.BAD_REQUEST,
    field_names={"basic.username": "auth_details.username", "basic.password": "auth_details.password"},
    shows_secrets=True,
)


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors. The body of a 401 is a JSON string."""
    content = {"application/json": {"schema": {"type": "string"}}}
    unauthorized = {"description": HTTPStatus.UNAUTHORIZED.phrase, "content": content}
    return EVERLYTIC.described(*statuses) | {HTTPStatus.UNAUTHORIZED.value: unauthorized}
