"""Errors in Zipwhip's form: `success` is false, and `response` says why."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from dispatcher.dialects.frame import BODY_ERRORS, Vendor
from dispatcher.dialects.zipwhip.parameters import refused
from dispatcher.errors import AccountSuspended, AtQuota, DispatcherError, NotFound
from dispatcher.web.problems import Problem

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["success", "response"],
    "properties": {"success": {"type": "boolean", "enum": [False]}, "response": {"type": "string"}},
}


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse({"success": False, "response": problem.detail}, problem.status.value, problem.headers)


def _problem_of(_: Request, error: DispatcherError) -> Problem | None:
    return refused(str(error)) if isinstance(error, NotFound | AccountSuspended | AtQuota) else None


ZIPWHIP = Vendor(
    name="zipwhip",
    title="Zipwhip",
    about="Webhooks, for clients of Zipwhip's API.",
    answer=_answer,
    error_schema=_SCHEMA,
    errors=BODY_ERRORS,
    problem_of=_problem_of,
    refusal=HTTPStatus.OK,  # only errors outside the call itself have another status
    numbered=True,
)
