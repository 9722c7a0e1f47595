"""Zipwhip's five calls, each by GET and by POST."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from dispatcher.accounts.api_keys import Scope
from dispatcher.dialects.frame import Owner, OwnWebhooks, own_webhooks, readable_webhooks
from dispatcher.dialects.lists import whole_list
from dispatcher.dialects.zipwhip.errors import ZIPWHIP
from dispatcher.dialects.zipwhip.fields import WebhookDocument, document_of, method_of, new_fields
from dispatcher.dialects.zipwhip.parameters import Parameters, read_parameters, refused, required
from dispatcher.web.authentication import caller_of_client, caller_of_session
from dispatcher.web.quotas import READ, WRITE
from dispatcher.web.serving import Serving, Shared
from dispatcher.webhooks.fields import WebhookFields

router = APIRouter()

Given = Annotated[Parameters, Depends(read_parameters)]
Route = TypeVar("Route", bound=Callable[..., Any])


def _owner_who_may(scope: Scope) -> Callable[[Request, Parameters, Serving], Awaitable[Owner]]:
    async def owner(request: Request, given: Given, serving: Shared) -> Owner:
        caller = await caller_of_session(request, serving, required(given, "session"))
        if caller is None:
            raise refused("session is not valid")
        if not caller.may(scope):
            raise refused(f"the API key of this session does not have the scope `{scope}`")
        await serving.rates.charge(caller, READ if scope is Scope.READ else WRITE)
        if caller.account_id is None:
            raise refused("a session of an account's own API key is needed")
        return Owner(caller.account_id, caller)

    return owner


Readable = Annotated[OwnWebhooks, readable_webhooks(ZIPWHIP, _owner_who_may(Scope.READ))]
Manageable = Annotated[OwnWebhooks, own_webhooks(ZIPWHIP, _owner_who_may(Scope.MANAGE))]


class Session(BaseModel):
    """The session of a login, or (`success` is false) why there is none."""

    success: bool = True
    response: str


class Found(BaseModel):
    """Webhooks, or (`success` is false) why the call was refused."""

    success: bool = True
    response: list[WebhookDocument] | str


def _call(
    path: str, summary: str, parameters: dict[str, str], *optional: str, answer: type[BaseModel] | None = None
) -> Callable[[Route], Route]:
    """Registers a route for both methods, with its parameters described for each. `answer`: of a route that makes its
    own response."""
    model: dict[str, Any] = {"response_model": answer} if answer is not None else {}
    schemas = {name: {"type": "string", "description": about} for name, about in parameters.items()}
    needed = [name for name in parameters if name not in optional]
    query = [{"name": name, "in": "query", "required": name in needed, "schema": schemas[name]} for name in schemas]
    form = {"type": "object", "required": needed, "properties": schemas}
    body = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}

    def add(route: Route) -> Route:
        for register_route, extra in (
            (router.get, {"parameters": query}),
            (router.post, {"requestBody": body, "description": "The parameters can also be in the query."}),
        ):
            register_route(path, summary=summary, responses=ZIPWHIP.described(), openapi_extra=extra, **model)(route)
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
async def login(request: Request, given: Given, serving: Shared) -> Session:
    shown = ".".join(required(given, name) for name in ("username", "password"))
    caller = await caller_of_client(request, serving, shown)
    if caller is None:
        raise refused("username or password is wrong")
    await serving.rates.charge(caller, READ)
    return Session(response=serving.installation.token_mint.session(caller.key_id))


@_call("/webhook/add", "Install a webhook", {**_SESSION, **_KIND, **_URL, **_METHOD}, "method")
def add_webhook(own: Manageable, given: Given) -> Found:
    fields = new_fields(
        required(given, "type"), required(given, "event"), required(given, "url"), method_of(given.get("method"))
    )
    return Found(response=[document_of(own.register(**fields))])


@_call("/webhook/update", "Change a webhook", {**_SESSION, **_ID, **_URL, **_METHOD}, "url", "method")
def update_webhook(own: Manageable, given: Given) -> Found:
    webhook = own.id_of(required(given, "webhookId"))
    fields: WebhookFields = {}
    if "url" in given:
        fields["url"] = given["url"]
    if "method" in given:
        fields["contract_changes"] = {"method": method_of(given["method"])}
    return Found(response=[document_of(own.change(webhook, lambda _: fields))])


@_call("/webhook/list", "List the account's webhooks", _SESSION, answer=Found)
def list_webhooks(own: Readable) -> Response:
    return whole_list(own, document_of, around=Found(response=[]))


@_call("/webhook/delete", "Remove a webhook", {**_SESSION, **_ID})
def delete_webhook(own: Manageable, given: Given) -> Found:
    own.remove(required(given, "webhookId"))
    return Found(response=[])
