"""Who is calling: an API key, as Bearer token or as HTTP Basic (id and secret), or a token that represents one."""

import base64
import binascii
from collections.abc import AsyncIterator
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
from dispatcher.accounts.api_keys import Caller, Scope, Shown, authenticate, caller_of_key, shown_by
from dispatcher.errors import AccountSuspended
from dispatcher.installation import Installation
from dispatcher.web.problems import Problem, token_expired, unauthorized
from dispatcher.web.quotas import READ, WRITE
from dispatcher.web.serving import Serving, Shared

_SCOPES = (
    "Each operation names the scope that the key must have: `send` to send events, `read` to look, `manage` to "
    "change webhooks and to redeliver, `observe` to look at what concerns the installation, `operator` to change that. "
    "An operator's key with `operator` may do all, one with `observe` may look at all but secrets."
)


_RATES = {Scope.READ: READ, Scope.MANAGE: WRITE}  # of those who send, events are counted


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
    kept = _known(request.headers.get("authorization"), serving)
    caller = kept or await _asked(request, serving)
    request.state.is_only_known = kept is not None
    request.state.key = str(caller.key_id)
    await serving.rate_limits.charge(caller)
    return caller


def _known(authorization: str | None, serving: Serving) -> Caller | None:
    if authorization is None:
        return None
    if (caller := serving.known_callers.kept(authorization)) is not None:
        return caller
    shown = _shown(_token(authorization), serving.installation)
    return serving.known_callers.kept_with(authorization, shown) if shown is not None else None


async def _asked(request: Request, serving: Serving) -> Caller:
    """The caller as the database has it now."""
    authorization = request.headers.get("authorization")
    token = _token(authorization)
    if authorization is None or token is None:
        raise unauthorized()
    shown = _shown(token, serving.installation)
    try:
        caller = await _looked_up(request, serving, shown)
    except AccountSuspended as suspended:
        raise Problem(HTTPStatus.FORBIDDEN, str(suspended)) from None
    if shown is None or caller is None:
        raise unauthorized()
    if shown.is_over(caller.shown_at):
        raise token_expired()
    serving.known_callers.keep(authorization, shown, caller)
    return caller


class WhoMay:
    """A dependency: the caller, who has a scope. Problem 401 without a valid key, 403 without the scope, 429 at a rate
    of the account. For more than sending and reading, the database is asked then, whoever is known: a key that was
    revoked changes nothing any more."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self,
        request: Request,
        serving: Shared,
        caller: Annotated[Caller, Depends(caller_of_request)],
    ) -> Caller:
        check_scope(caller, self.scope)
        if (rates := _RATES.get(self.scope)) is not None:
            await serving.rates.charge(caller, rates)
        if request.state.is_only_known and self.scope not in {Scope.SEND, Scope.READ}:
            caller = await _asked(request, serving)
            check_scope(caller, self.scope)
        return caller


async def sender(caller: "Sender", serving: Shared) -> Caller:
    """A dependency: who may send one event, before its body is read. Raises as `WhoMay`, and Problem 429."""
    await serving.rates.charge_event(caller)
    return caller


async def _receipts_sent(caller: "SenderOfOne", serving: Shared) -> AsyncIterator[Caller]:
    """A dependency: who may send one event at least, when few answers about many events are not sent yet."""
    async with serving.unsent_batch_turns.turn(caller.account_id):
        yield caller


async def _sending_many(
    caller: Annotated[Caller, Depends(_receipts_sent, scope="request")], serving: Shared
) -> AsyncIterator[Caller]:
    """A dependency: the same when it is the account's turn, before the body is read. The answer is sent after that."""
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


async def caller_of_session(request: Request, serving: Serving, session: str) -> Caller | None:
    """The caller that a session identifies. Raises Problem 429 and AccountSuspended."""
    claims = serving.installation.token_mint.read(session) if ":" in session else None
    return await _counted(request, serving, Shown(claims.key_id, None) if claims is not None else None)


async def caller_of_client(request: Request, serving: Serving, shown: str) -> Caller | None:
    """Who shows a key (its id, a dot, its secret), to get something that stands for it. No token is taken: it may
    expire before what is made with it. Raises Problem 429 and AccountSuspended."""
    return await _counted(request, serving, shown_by(shown))


async def _counted(request: Request, serving: Serving, shown: Shown | None) -> Caller | None:
    caller = await _looked_up(request, serving, shown)
    if caller is not None:
        await serving.rate_limits.charge(caller)
    return caller


async def _looked_up(request: Request, serving: Serving, shown: Shown | None) -> Caller | None:
    """Who shows this, by a look at the database; None if it is not valid. Raises Problem 429 and AccountSuspended."""
    await serving.guesses.admit(request, serving.installation, shown)
    ask = partial(_caller, serving.installation)
    caller = await serving.known_callers.look(shown, ask) if shown is not None else None
    if caller is None:
        serving.guesses.failed(request)
    return caller


def _caller(installation: Installation, shown: Shown) -> Caller | None:
    with installation.transaction() as session:
        if shown.secret is not None:
            return authenticate(session, shown.mark)
        caller = caller_of_key(session, shown.key_id)
        if caller is not None and shown.is_over(caller.shown_at):
            session.rollback()  # this does not count as a use of the key
        return caller


def _shown(token: str | None, installation: Installation) -> Shown | None:
    """The key that the token of an `Authorization` header shows, or that an access token represents. A session is not
    accepted here: it does not expire and is sent in queries, which others log."""
    if token is None or ":" in token:
        return None
    claims = installation.token_mint.read(token)
    return Shown(claims.key_id, None, claims.until) if claims is not None else shown_by(token)


def key_in_basic(authorization: str | None) -> str | None:
    """The key (its id, a dot, its secret) in an `Authorization: Basic`; None if there is none."""
    scheme, value = get_authorization_scheme_param(authorization)
    return _from_basic(value) if scheme.lower() == "basic" else None


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
