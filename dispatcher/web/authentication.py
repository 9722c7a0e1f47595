"""Who is calling: an API key, as Bearer token or as HTTP Basic (id and secret), or a token that represents one."""

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param

from dispatcher.accounts.actor import ApiKey, Call
from dispatcher.accounts.api_keys import Caller, Scope, authenticate, caller_of_key
from dispatcher.errors import AccountSuspended
from dispatcher.installation import Installation
from dispatcher.web.known_callers import SharedLooks
from dispatcher.web.problems import Problem, token_expired, unauthorized
from dispatcher.web.quotas import READ, WRITE
from dispatcher.web.serving import Serving, Shared

_SCOPES = (
    "Each operation names the scope that the key must have: `send` to send events, `read` to look, `manage` to "
    "change webhooks and to redeliver, `observe` to look at what concerns the installation, `operator` to change that. "
    "An operator's key with `operator` may do all, one with `observe` may look at all but secrets."
)


_RATES = {Scope.READ: READ, Scope.MANAGE: WRITE}  # of those who send, events are counted
_NEVER = datetime.max.replace(tzinfo=UTC)


class Refusal(StrEnum):
    """Why a caller is refused. All reasons that would reveal something about keys are one."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"  # an access token has expired but its key is valid: a new token helps


class _Described(SecurityBase):
    """Puts a scheme into OpenAPI, and reads nothing: a malformed header must be a plain 401."""

    def __init__(self, scheme: str, description: str) -> None:
        self.model = HTTPBase(scheme=scheme, description=description)
        self.scheme_name = scheme.capitalize()

    async def __call__(self) -> None:
        return None


async def caller_of_request(
    request: Request,
    serving: Shared,
    _bearer: Annotated[None, Security(_Described("bearer", f"An API key's token, or an access token. {_SCOPES}"))],
    _basic: Annotated[
        None, Security(_Described("basic", f"An API key's id and secret: the token's two parts. {_SCOPES}"))
    ],
) -> Caller:
    """A dependency: the caller, with any scopes. Problem 401 without a valid key, 403 with one of a suspended account,
    429 for too many requests."""
    return await counted_caller(request, serving)


async def counted_caller(request: Request, serving: Serving) -> Caller:
    """The same. Who calls may be known from a request of the last seconds."""
    kept = serving.known_callers.kept(request.headers.get("authorization"))
    caller = kept or await _asked(request, serving)
    request.state.is_only_known = kept is not None
    request.state.key = str(caller.key_id)
    await serving.rate_limits.charge(caller)
    return caller


async def _asked(request: Request, serving: Serving) -> Caller:
    """The caller as the database has it now."""
    installation, authorization = serving.installation, request.headers.get("authorization")
    token = _token(authorization)
    if authorization is None or token is None:
        raise unauthorized()
    await serving.guesses.admit(request, installation, token)
    try:
        caller = await serving.known_callers.look(authorization, token, partial(identify, installation))
    except AccountSuspended as suspended:
        raise Problem(HTTPStatus.FORBIDDEN, str(suspended)) from None
    match caller:
        case Refusal.UNKNOWN:
            serving.guesses.failed(request)
            raise unauthorized()
        case Refusal.EXPIRED:
            raise token_expired()
    return caller


class WhoMay:
    """A dependency: the caller, who has a scope. Problem 401 without a valid key, 403 without the scope. For more than
    sending and reading, the database is asked, whoever is known: a key that was revoked changes nothing any more."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self,
        request: Request,
        serving: Shared,
        caller: Annotated[Caller, Depends(caller_of_request)],
    ) -> Caller:
        if request.state.is_only_known and self.scope not in {Scope.SEND, Scope.READ}:
            caller = await _asked(request, serving)
        check_scope(caller, self.scope)
        if (rates := _RATES.get(self.scope)) is not None:
            await serving.rates.charge(caller, rates)
        return caller


async def sender(caller: "Sender", serving: Shared) -> Caller:
    """A dependency: who may send one event, before its body is read. Raises as `WhoMay`, and Problem 429."""
    await serving.rates.charge_event(caller)
    return caller


async def _sending_many(caller: "SenderOfOne", serving: Shared) -> AsyncIterator[Caller]:
    """A dependency: who may send one event at least, when it is the account's turn, before the body is read."""
    async with serving.batch_turns.turn(caller.account_id):
        yield caller


async def _answered(caller: Annotated[Caller, Depends(WhoMay(Scope.READ))], serving: Shared) -> AsyncIterator[Caller]:
    """A dependency: who may read, when few answers of the account are not sent yet."""
    async with serving.unsent_turns.turn(caller.account_id):
        yield caller


async def _reading(
    caller: Annotated[Caller, Depends(_answered, scope="request")], serving: Shared
) -> AsyncIterator[Caller]:
    """A dependency: who may read, when it is the account's turn. The answer is sent after that."""
    async with serving.reading_turns.turn(caller.account_id):
        yield caller


async def _managing(caller: Annotated[Caller, Depends(WhoMay(Scope.MANAGE))], serving: Shared) -> AsyncIterator[Caller]:
    """A dependency: who may change something, when it is the account's turn."""
    async with serving.writing_turns.turn(caller.account_id):
        yield caller


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raises Problem 403 without the scope."""
    if not caller.may(scope):
        raise Problem(HTTPStatus.FORBIDDEN, f"the API key does not have the scope `{scope}`")


Reader = Annotated[Caller, Depends(_reading, scope="function")]
Sender = Annotated[Caller, Depends(WhoMay(Scope.SEND))]
SenderOfOne = Annotated[Caller, Depends(sender)]
SenderOfMany = Annotated[Caller, Depends(_sending_many, scope="function")]
Manager = Annotated[Caller, Depends(_managing, scope="function")]
Observer = Annotated[Caller, Depends(WhoMay(Scope.OBSERVE))]
Operator = Annotated[Caller, Depends(WhoMay(Scope.OPERATOR))]


def call_of(request: Request) -> Call:
    """The request as the audit log records it."""
    try:
        # After the percent sign of an IPv6 address, the header of a proxy may contain any text.
        host = request.client.host.partition("%")[0] if request.client is not None else None
        address = str(ip_address(host)) if host is not None else None
    except ValueError:  # a Unix socket, or no address in the header of a proxy
        address = None
    return Call(UUID(request.state.id), address)


def _by_key(caller: Annotated[Caller, Depends(caller_of_request)], call: Annotated[Call, Depends(call_of)]) -> ApiKey:
    return ApiKey(caller.key_id, call, is_operator=caller.is_operator)


By = Annotated[ApiKey, Depends(_by_key)]


def identify(installation: Installation, token: str) -> Caller | Refusal:
    """The caller that the token of an `Authorization` header identifies: a key, or an access token. A session is not
    accepted here: it does not expire and is sent in queries, which others log. Raises AccountSuspended."""
    return _caller_of_token(installation, token) if ":" not in token else Refusal.UNKNOWN


async def caller_of_session(request: Request, serving: Serving, session: str) -> Caller | None:
    """The caller that a session identifies. Raises Problem 429 and AccountSuspended."""
    return await _shown_by(request, serving, session, serving.sessions, _caller_of_session)


async def caller_of_client(request: Request, serving: Serving, shown: str) -> Caller | None:
    """Who shows a key (its id, a dot, its secret), to get something that stands for it. No token is taken: it may
    expire before what is made with it. Raises Problem 429 and AccountSuspended."""
    return await _shown_by(request, serving, shown, serving.clients, _caller_of_client)


async def _shown_by(
    request: Request,
    serving: Serving,
    shown: str,
    looks: SharedLooks[None],
    identify: Callable[[Installation, str], Caller | None],
) -> Caller | None:
    await serving.guesses.admit(request, serving.installation, shown)
    caller = await looks.look(shown, partial(identify, serving.installation))
    if caller is None:
        serving.guesses.failed(request)
    else:
        await serving.rate_limits.charge(caller)
    return caller


def _caller_of_session(installation: Installation, session: str) -> Caller | None:
    found = _caller_of_token(installation, session) if ":" in session else Refusal.UNKNOWN
    return None if isinstance(found, Refusal) else found


def _caller_of_client(installation: Installation, shown: str) -> Caller | None:
    with installation.transaction() as session:
        return authenticate(session, shown)


def key_in_basic(authorization: str | None) -> str | None:
    """The key (its id, a dot, its secret) in an `Authorization: Basic`; None if there is none."""
    scheme, value = get_authorization_scheme_param(authorization)
    return _from_basic(value) if scheme.lower() == "basic" else None


def _caller_of_token(installation: Installation, token: str) -> Caller | Refusal:
    with installation.transaction() as session:
        if not token.startswith("at.") and ":" not in token:
            return authenticate(session, token) or Refusal.UNKNOWN
        claims = installation.token_mint.read(token)
        caller = caller_of_key(session, claims.key_id) if claims is not None else None
        if claims is None or caller is None:
            return Refusal.UNKNOWN
        if claims.until is not None and claims.until <= caller.shown_at:
            session.rollback()  # this does not count as a use of the key
            return Refusal.EXPIRED
        return replace(caller, valid_until=min(claims.until or _NEVER, caller.expires_at or _NEVER))


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
