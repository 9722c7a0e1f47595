"""Errors as RFC 9457 problem documents: the one place where the error tree meets HTTP."""

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from dispatcher.db.outages import explain_outage
from dispatcher.errors import (
    AccountAtLimit,
    AccountSuspended,
    ConfigurationError,
    Conflict,
    DispatcherError,
    InvalidInput,
    NotFound,
    TooBusy,
    Unavailable,
    UnknownAccount,
)
from dispatcher.masking.refusals import refusal
from dispatcher.masking.terminal import ascii_json

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
MAX_ERRORS = 20

_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong, as in RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Always `about:blank`: the status says what kind of problem it is."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Which fields were refused, and why.",
            "items": {"$ref": "#/components/schemas/FieldError"},
        },
    },
}
_RETRY_AFTER = {"Retry-After": {"description": "The seconds to wait.", "schema": {"type": "integer"}}}


class FieldError(BaseModel):
    """A field, and why it is refused."""

    field: str
    reason: str


class Problem(Exception):
    """Ends a request with an error. Its texts never contain a secret, a URL or message data."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = headers

    def document(self) -> dict[str, Any]:
        """The problem document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"field": field, "reason": reason} for field, reason in self.errors]
        return document

    def response(self) -> Response:
        """The problem document, in ASCII: what it repeats of a request must not control a reader's terminal."""
        text = ascii_json(json.dumps(self.document(), separators=(",", ":")))
        return Response(text, self.status.value, self.headers, media_type=CONTENT_TYPE)


Answer: TypeAlias = Callable[[Problem], Response]


def unauthorized() -> Problem:
    """No valid key. It does not say whether the key is unknown, wrong, expired or revoked."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "a valid API key is needed: `Authorization: Bearer <token>`",
        headers={"WWW-Authenticate": 'Bearer realm="dispatcher", Basic realm="dispatcher"'},
    )


def token_expired() -> Problem:
    """An access token that has expired. Clients look for `expired` before they fetch a new one and repeat the call, so
    no other refusal may contain that word."""
    challenge = 'Bearer realm="dispatcher", error="invalid_token", error_description="the access token has expired"'
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "the access token has expired: get a new one",
        headers={"WWW-Authenticate": f'{challenge}, Basic realm="dispatcher"'},
    )


def invalid(*errors: tuple[str, str]) -> Problem:
    """Fields that were refused, each with the reason. Of very many, only the first are named."""
    first = errors[:MAX_ERRORS]
    detail = "; ".join(f"{field} {reason}" for field, reason in first)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=first)


def unavailable(detail: str) -> Problem:
    """The engine cannot serve anything at the moment."""
    return busy(HTTPStatus.SERVICE_UNAVAILABLE, detail)


def busy(status: HTTPStatus, detail: str, seconds: int = RETRY_AFTER_SECONDS) -> Problem:
    """The same request may succeed after so many seconds."""
    return Problem(status, detail, headers={"Retry-After": str(seconds)})


def problem_for(error: DispatcherError) -> Problem:
    """What an error of the tree means over HTTP."""
    match error:
        case InvalidInput(field=field, reason=reason) | UnknownAccount(field=field, reason=reason):
            return invalid((field, reason))
        case NotFound():
            return Problem(HTTPStatus.NOT_FOUND, str(error))
        case Conflict():
            refused = [(error.field, error.reason)] if isinstance(error, AccountSuspended) else []
            return Problem(HTTPStatus.CONFLICT, str(error), errors=refused)
        case TooBusy() | Unavailable():
            at_limit = isinstance(error, AccountAtLimit)
            return busy(HTTPStatus.TOO_MANY_REQUESTS if at_limit else HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case ConfigurationError():
            return unavailable("the engine is not fully configured: /readyz says what is missing")
        case _:
            return internal_error()


def problem_of(error: Exception) -> Problem:
    """What an error that ends a request means. Raises it again if it is a defect."""
    match error:
        case Problem():
            return error
        case DispatcherError():
            return problem_for(error)
        case SQLAlchemyError() if explain_outage(error) is not None:
            return unavailable("the database is not available at the moment")
        case _:
            raise error


def internal_error() -> Problem:
    """A defect: the answer gives no details, the log has them under the request's id."""
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the log has details under the X-Request-Id")


_DESCRIBED: dict[HTTPStatus, tuple[str, Problem]] = {
    HTTPStatus.BAD_REQUEST: (
        "The body is not a JSON object in UTF-8, or has a member twice.",
        Problem(HTTPStatus.BAD_REQUEST, "the body is not JSON: Expecting value at 9"),
    ),
    HTTPStatus.UNAUTHORIZED: ("No valid API key, or an access token whose time is over.", unauthorized()),
    HTTPStatus.FORBIDDEN: (
        "The API key does not have the scope, is another account's, or its account is suspended.",
        Problem(HTTPStatus.FORBIDDEN, "the API key does not have the scope `manage`"),
    ),
    HTTPStatus.NOT_FOUND: (
        "It does not exist, or is another account's.",
        Problem(HTTPStatus.NOT_FOUND, "there is no webhook '0198a6d1-90aa-7c33-a2b7-0d5f1c9e4a77'"),
    ),
    HTTPStatus.REQUEST_TIMEOUT: (
        "The body did not arrive within 30 s.",
        Problem(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not arrive in time"),
    ),
    HTTPStatus.CONFLICT: (
        "The state of something does not allow it, a name is taken, or an idempotency key came with other content.",
        Problem(HTTPStatus.CONFLICT, "the webhook is disabled: nothing is sent to it until it is enabled"),
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "The body is too long.",
        Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is longer than the 327680 bytes allowed"),
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        "Fields or parameters are refused: `errors` names each, with the reason.",
        invalid(("limt", "is not known: the nearest is `limit`")),
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "Too many requests: of the key, of the account, or with wrong keys; `Retry-After` has the seconds to wait.",
        Problem(HTTPStatus.TOO_MANY_REQUESTS, "more than 60000 requests a minute with this API key"),
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The engine cannot serve it at the moment; `Retry-After` has the seconds to wait.",
        unavailable("the database is not available at the moment"),
    ),
}


_LATER = HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's problems, with an example of each."""
    schema = {"$ref": "#/components/schemas/Problem"}
    found = {status: _DESCRIBED[status] for status in statuses}
    return {
        status.value: {
            "description": when,
            "content": {CONTENT_TYPE: {"schema": schema, "example": example.document()}},
            **({"headers": _RETRY_AFTER} if status in _LATER else {}),
        }
        for status, (when, example) in found.items()
    }


def usual_problems(*more: HTTPStatus, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The same for a route that requires a key, reads parameters and maybe a `body`, and can answer with `more`."""
    with_body = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return described(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        *(with_body if body else ()),
        *more,
    )


def install(app: FastAPI, answer: Answer = Problem.response) -> None:
    """Turns every error of the app into a problem, and that into an answer: the document, or a dialect's own form."""
    describe = app.openapi

    def describe_with_problem() -> dict[str, Any]:
        document = describe()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {"Problem": _SCHEMA, "FieldError": FieldError.model_json_schema()}
        return document

    app.openapi = describe_with_problem  # type: ignore[method-assign]

    @app.exception_handler(Problem)
    @app.exception_handler(DispatcherError)
    @app.exception_handler(SQLAlchemyError)
    async def _of_ours(_: Request, error: Exception) -> Response:
        return answer(problem_of(error))

    @app.exception_handler(RequestValidationError)
    def _of_parameters(_: Request, error: RequestValidationError) -> Response:
        return answer(invalid(*((".".join(map(str, part["loc"][1:])), refusal(part)) for part in error.errors())))

    @app.exception_handler(HTTPException)
    def _of_the_framework(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:  # the framework names only the first route's methods
            headers["Allow"] = ", ".join(_methods(request))
        return answer(Problem(status, status.description or status.phrase, headers=headers))


def _methods(request: Request) -> list[str]:
    """The methods that have a route at the request's path."""
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
