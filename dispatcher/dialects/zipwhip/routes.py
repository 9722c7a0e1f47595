"""Zipwhip's five calls, each by GET and by POST."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from dispatcher.accounts.actor import Call, Dialect
from dispatcher.accounts.api_keys import Scope
from dispatcher.db.models import Account, Webhook
from dispatcher.dialects.zipwhip.answers import described
from dispatcher.dialects.zipwhip.fields import WebhookDocument, document_of, method_of, new_fields
from dispatcher.dialects.zipwhip.parameters import Parameters, Refused, read_parameters, required
from dispatcher.errors import NotFound
from dispatcher.installation import Installation
from dispatcher.web.authentication import call_of, caller_of_secret, caller_of_session
from dispatcher.web.serving import Serving, serving_of
from dispatcher.webhooks.fields import WebhookFields
from dispatcher.webhooks.registration import change, register, remove
from dispatcher.webhooks.store import Webhooks

DIALECT = "zipwhip"

router = APIRouter()

Given = Annotated[Parameters, Depends(read_parameters)]
Shared = Annotated[Serving, Depends(serving_of)]
ThisCall = Annotated[Call, Depends(call_of)]
Route = TypeVar("Route", bound=Callable[..., Any])


class Owner(NamedTuple):
    """Whose webhooks a call is about, and by which key."""

    account_id: UUID
    key_id: UUID

    def as_actor(self, call: Call) -> Dialect:
        return Dialect(DIALECT, self.key_id, call)


class Session(BaseModel):
    """The session that a login gives, or (`success` is false) why it gives none."""

    success: bool = True
    response: str


class Found(BaseModel):
    """Webhooks, or (`success` is false) why the call was refused."""

    success: bool = True
    response: list[WebhookDocument] | str


def _call(path: str, summary: str, parameters: dict[str, str], *optional: str) -> Callable[[Route], Route]:
    """Registers a route for both methods, with its parameters described for each."""
    schemas = {name: {"type": "string", "description": about} for name, about in parameters.items()}
    needed = [name for name in parameters if name not in optional]
    query = [{"name": name, "in": "query", "required": name in needed, "schema": schemas[name]} for name in schemas]
    form = {"type": "object", "required": needed, "properties": schemas}
    body = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}

    def add(route: Route) -> Route:
        for register_route, described_parameters in (
            (router.get, {"parameters": query}),
            (router.post, {"requestBody": body, "description": "The parameters may stand in the query as well."}),
        ):
            register_route(path, summary=summary, responses=described(), openapi_extra=described_parameters)(route)
        return route

    return add


_SESSION = {"session": "The response of user/login."}
_ID = {"webhookId": "The number of an installed webhook."}
_URL = {"url": "Where messages go when the event happens."}
_METHOD = {"method": "POST (the default), PUT or GET."}
_KIND = {
    "type": "`message`, or `optout`.",
    "event": "delete, progress, read, receive or send; of `optout`: change.",
}


@_call("/user/login", "Get a session", {"username": "An API key's id.", "password": "Its secret."})
def login(given: Given, serving: Shared) -> Session:
    installation = serving.installation
    caller = caller_of_secret(installation, required(given, "username"), required(given, "password"))
    if caller is None:
        raise Refused("username or password is wrong")
    serving.rate_limits.check(caller)
    return Session(response=installation.token_mint.session(caller.key_id))


@_call("/webhook/add", "Install a webhook", {**_SESSION, **_KIND, **_URL, **_METHOD}, "method")
def add_webhook(given: Given, serving: Shared, call: ThisCall) -> Found:
    owner, installation = _owner_who_may(Scope.MANAGE, given, serving), serving.installation
    fields = new_fields(
        required(given, "type"), required(given, "event"), required(given, "url"), method_of(given.get("method"))
    )
    made = register(installation, owner.account_id, by=owner.as_actor(call), dialect=DIALECT, **fields)
    return Found(response=[document_of(made.webhook, made.url)])


@_call("/webhook/update", "Change a webhook", {**_SESSION, **_ID, **_URL, **_METHOD}, "url", "method")
def update_webhook(given: Given, serving: Shared, call: ThisCall) -> Found:
    owner, installation = _owner_who_may(Scope.MANAGE, given, serving), serving.installation
    number = _number(given)
    with installation.transaction() as session:
        account = session.get_one(Account, owner.account_id)
        webhook = Webhooks(session, installation).get_of(DIALECT, account, number)
    fields: WebhookFields = {}
    if "url" in given:
        fields["url"] = given["url"]
    if "method" in given:
        fields["contract_changes"] = {"method": method_of(given["method"])}
    changed = change(installation, owner.account_id, webhook.id, by=owner.as_actor(call), **fields)
    return Found(response=[document_of(changed.webhook, changed.url)])


@_call("/webhook/list", "List the account's webhooks", _SESSION)
def list_webhooks(given: Given, serving: Shared) -> Found:
    owner, installation = _owner_who_may(Scope.READ, given, serving), serving.installation
    with installation.transaction() as session:
        owned = Webhooks(session, installation).list(session.get_one(Account, owner.account_id), dialect=DIALECT)
    return _found(installation, owned)


@_call("/webhook/delete", "Remove a webhook", {**_SESSION, **_ID})
def delete_webhook(given: Given, serving: Shared, call: ThisCall) -> Found:
    owner, installation = _owner_who_may(Scope.MANAGE, given, serving), serving.installation
    number = _number(given)
    with installation.transaction() as session:
        webhook = Webhooks(session, installation).get_of(DIALECT, session.get_one(Account, owner.account_id), number)
    remove(installation, owner.account_id, webhook.id, by=owner.as_actor(call))
    return Found(response=[])


def _owner_who_may(scope: Scope, given: Parameters, serving: Serving) -> Owner:
    caller = caller_of_session(serving.installation, required(given, "session"))
    if caller is None:
        raise Refused("session is not valid")
    serving.rate_limits.check(caller)
    if not caller.may(scope):
        raise Refused(f"the API key of this session does not have the scope `{scope}`")
    if caller.account_id is None:
        raise Refused("a session of an account's own API key is needed")
    return Owner(caller.account_id, caller.key_id)


def _number(given: Parameters) -> int:
    text = required(given, "webhookId")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise NotFound("webhook", text)
    return int(text)


def _found(installation: Installation, webhooks: Iterable[Webhook]) -> Found:
    with installation.transaction() as session:
        vault = Webhooks(session, installation)
        return Found(response=[document_of(webhook, vault.url(webhook)) for webhook in webhooks])
