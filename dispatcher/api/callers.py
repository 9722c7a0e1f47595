"""Who is calling: the API key of a request, as Bearer token or as HTTP Basic (id and secret)."""

import base64
import binascii
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dispatcher.accounts import Caller, Scope, authenticate
from dispatcher.api.problems import Problem, unauthorized
from dispatcher.db.session import engine_for
from dispatcher.settings import load_settings


class _Described(SecurityBase):
    """Puts a scheme into OpenAPI, and reads nothing: a broken header is to be a plain 401."""

    def __init__(self, scheme: str, description: str) -> None:
        self.model = HTTPBase(scheme=scheme, description=description)
        self.scheme_name = scheme.capitalize()

    async def __call__(self) -> None:
        return None


def caller_who_may(scope: Scope) -> Callable[[Caller], Caller]:
    """A dependency: the caller, who has this scope. Problem 401 without a valid key, 403 without the scope."""

    def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if not caller.may(scope):
            raise Problem(HTTPStatus.FORBIDDEN, f"the API key does not have the scope `{scope}`")
        return caller

    return check


def _caller(
    request: Request,
    _bearer: Annotated[None, Security(_Described("bearer", "An API key's token."))],
    _basic: Annotated[None, Security(_Described("basic", "An API key's id and secret: the token's two parts."))],
) -> Caller:
    token = _token(request.headers.get("authorization"))
    if token is None:
        raise unauthorized()
    engine = engine_for(load_settings().database_url.get_secret_value())
    with Session(engine) as session, session.begin():
        caller = authenticate(session, token, session.scalars(select(func.now())).one())
    if caller is None:
        raise unauthorized()
    return caller


def _token(authorization: str | None) -> str | None:
    scheme, value = get_authorization_scheme_param(authorization)
    match scheme.lower():
        case "bearer":
            return value or None
        case "basic":
            return _from_basic(value)
        case _:
            return None


def _from_basic(value: str) -> str | None:
    try:
        identifier, colon, secret = base64.b64decode(value, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return None
    return f"{identifier}.{secret}" if colon else None
