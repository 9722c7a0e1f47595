"""OAuth2 client credentials (RFC 6749, 4.4): for an API key, a token that expires. Any path may serve it."""

import math
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from dispatcher.accounts.api_keys import Caller
from dispatcher.errors import AccountSuspended
from dispatcher.web.authentication import caller_of_client, key_in_basic
from dispatcher.web.bodies import SECRET
from dispatcher.web.middleware import read_form
from dispatcher.web.problems import described
from dispatcher.web.quotas import READ
from dispatcher.web.serving import Serving, Shared

router = APIRouter(tags=["tokens"])

TOKEN_LIFE = timedelta(hours=1)

_NOT_KEPT = {"Pragma": "no-cache"}  # RFC 6749, 5.1; every answer has the other header that it requires
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20


class TokenAnswer(BaseModel):
    """An access token; it may do what its key may."""

    access_token: Annotated[str, Field(json_schema_extra={**SECRET})]
    expires_in: Annotated[int, Field(description="Seconds, at most 3600, and never beyond the key's own expiry.")]
    scope: Annotated[str, Field(description="What the key may do, separated by spaces.")]
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - no secret


class TokenRefusal(BaseModel):
    """An error as in RFC 6749, 5.2."""

    error: Literal["invalid_request", "invalid_client", "unsupported_grant_type"]
    error_description: str


class TokenRefused(Exception):
    """The request gets no token."""

    def __init__(self, refusal: TokenRefusal) -> None:
        super().__init__(refusal.error_description)
        self.refusal = refusal

    def response(self) -> JSONResponse:
        """The answer of RFC 6749, 5.2."""
        if self.refusal.error != "invalid_client":
            return JSONResponse(self.refusal.model_dump(), HTTPStatus.BAD_REQUEST, _NOT_KEPT)
        challenge = {"WWW-Authenticate": 'Basic realm="dispatcher"'}
        return JSONResponse(self.refusal.model_dump(), HTTPStatus.UNAUTHORIZED, {**_NOT_KEPT, **challenge})


def shown_key(request: Request, body: bytes) -> str:
    """The key that a request for a token shows, by HTTP Basic or in its form. Raises TokenRefused."""
    fields = _fields(request.headers.get("content-type"), body)
    shown = _key(request.headers.get("authorization"), fields)
    match fields.get("grant_type"):
        case "client_credentials":
            pass
        case None:
            raise _refused("invalid_request", "grant_type is required")
        case _:
            raise _refused("unsupported_grant_type", "the only grant_type is client_credentials")
    return shown


def issue(serving: Serving, caller: Caller) -> TokenAnswer:
    """A token for a caller's key."""
    until = min(caller.shown_at + TOKEN_LIFE, caller.expires_at or datetime.max.replace(tzinfo=UTC))
    # Rounded up, so that a token never expires before its key: a new token must not count as expired.
    last_second = datetime.fromtimestamp(math.ceil(until.timestamp()), UTC)
    return TokenAnswer(
        access_token=serving.installation.token_mint.access_token(caller.key_id, last_second),
        expires_in=int((until - caller.shown_at).total_seconds()),
        scope=" ".join(sorted(caller.scopes)),
    )


_DESCRIBED: dict[int | str, dict[str, Any]] = {
    **described(
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    HTTPStatus.BAD_REQUEST.value: {"model": TokenRefusal, "description": "The request is refused."},
    HTTPStatus.UNAUTHORIZED.value: {"model": TokenRefusal, "description": "No valid API key."},
}
_BODY: dict[str, Any] = {
    "title": "TokenForm",
    "description": "A request for an access token, as in RFC 6749, 4.4.2.",
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"type": "string", "enum": ["client_credentials"], "description": "The only one there is."},
        "client_id": {"type": "string", "description": "The API key's id, unless it is sent by HTTP Basic."},
        "client_secret": {"type": "string", "description": "Its secret.", **SECRET},
        "scope": {"type": "string", "description": "Ignored: a token may do what its key may."},
    },
}


@router.post(
    "/oauth2/token",
    operation_id="create_token",
    summary="Get an access token for an API key (OAuth2 client credentials)",
    description="As in RFC 6749, 4.4. The token may do what its key may, for an hour, and ends with its key.",
    response_model=TokenAnswer,
    responses=_DESCRIBED,
    openapi_extra={
        "security": [{"Basic": []}, {}],
        "requestBody": {"required": True, "content": {_FORM: {"schema": _BODY}}},
    },
)
async def post_token(request: Request, serving: Shared, body: Annotated[bytes, Depends(read_form)]) -> Response:
    try:
        caller = await caller_of_client(request, serving, shown_key(request, body))
    except TokenRefused as refused:
        return refused.response()
    except AccountSuspended as suspended:
        return _refused("invalid_client", str(suspended)).response()
    if caller is None:
        return _not_a_client().response()
    await serving.rates.charge(caller, READ)
    return JSONResponse(issue(serving, caller).model_dump(), headers=_NOT_KEPT)


def _fields(content_type: str | None, body: bytes) -> dict[str, str]:
    if (content_type or "").partition(";")[0].strip().lower() != _FORM:
        raise _refused("invalid_request", f"the body must be a form ({_FORM})")
    try:
        # A field without a value counts as missing (RFC 6749, 3.2).
        pairs = parse_qsl(body.decode(), errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise _refused("invalid_request", "the body cannot be read as a form in UTF-8") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _refused("invalid_request", "a field occurs twice")
    return fields


def _key(authorization: str | None, fields: dict[str, str]) -> str:
    """The key shown. By RFC 6749, 2.3.1 its id and secret are encoded in Basic, but neither has a character that
    encoding would change."""
    identifier, secret = fields.get("client_id"), fields.get("client_secret")
    if authorization is None:
        if identifier is None or secret is None:
            raise _not_a_client()
        return f"{identifier}.{secret}"
    if secret is not None:
        raise _refused("invalid_request", "show the key in one way: by HTTP Basic, or in the form")
    key = key_in_basic(authorization)
    if key is None:
        raise _not_a_client()
    return key


def _not_a_client() -> TokenRefused:
    return _refused("invalid_client", "a valid API key is needed: its id and secret, by HTTP Basic or in the form")


def _refused(error: Literal["invalid_request", "invalid_client", "unsupported_grant_type"], why: str) -> TokenRefused:
    return TokenRefused(TokenRefusal(error=error, error_description=why))
