"""flexEngage's calls about webhooks: make, list, get, switch on and off, delete."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from dispatcher.accounts.actor import Dialect
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.db.models import Account, Webhook
from dispatcher.dialects.flexengage.answers import described
from dispatcher.dialects.flexengage.brands import DIALECT, account_of, found_or, webhook_of
from dispatcher.dialects.flexengage.fields import CONTRACT, NewWebhook, read_enabled, read_new_webhook, refusal
from dispatcher.dialects.flexengage.times import whole_seconds
from dispatcher.egress.urls import normalise_url
from dispatcher.errors import InvalidWebhook, UnknownAccount
from dispatcher.event_types import MAX_LENGTH
from dispatcher.web.authentication import by_key_through, caller_who_may
from dispatcher.web.middleware import read_body
from dispatcher.web.problems import Problem
from dispatcher.web.serving import Served
from dispatcher.webhooks.fields import MAX_EVENT_TYPES
from dispatcher.webhooks.registration import change, register, remove
from dispatcher.webhooks.store import Webhooks

NO_WEBHOOKS = "No webhooks with that brand ID were found"
NO_WEBHOOK = "No webhook with that brand ID was found"

router = APIRouter(prefix="/v1/{brandId}/webhooks", tags=["webhooks"])

Brand = Annotated[str, Path(alias="brandId", description="The account's name.")]
WebhookId = Annotated[str, Path(alias="id", description="A UUID.")]
Reader = Annotated[Caller, Depends(caller_who_may(Scope.READ))]
Manager = Annotated[Caller, Depends(caller_who_may(Scope.MANAGE))]
By = Annotated[Dialect, Depends(by_key_through(DIALECT))]
Body = Annotated[bytes, Depends(read_body)]

_NEW = {
    "type": "object",
    "required": ["endpoint", "events"],
    "properties": {
        "endpoint": {"type": "string", "format": "uri", "pattern": "^https://"},
        "events": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_EVENT_TYPES,
            "items": {
                "type": "string",
                "maxLength": MAX_LENGTH,
                "pattern": r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7})$",
            },
            "description": "Event types; the first parts of one take in all below them.",
        },
        "enabled": {"type": ["boolean", "null"], "default": True},
    },
}
_SWITCH = {"type": "object", "required": ["enabled"], "properties": {"enabled": {"type": "boolean"}}}
_LOCATION = {"description": "The URI of the new webhook.", "schema": {"type": "string", "format": "uri"}}


class WebhookResponse(BaseModel):
    """A webhook. Times are UTC, in whole seconds."""

    id: UUID
    created: datetime
    updated: datetime
    endpoint: Annotated[str, Field(description="As it was given.")]
    events: list[str]
    enabled: bool


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Create a webhook",
    responses={
        HTTPStatus.CREATED.value: {"headers": {"Location": _LOCATION}},
        **described(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _NEW}}}},
)
def create(
    *, caller: Manager, installation: Served, by: By, brand: Brand, body: Body, request: Request, response: Response
) -> WebhookResponse:
    try:
        with installation.transaction() as session:
            account_id = account_of(session, caller, brand).id
    except UnknownAccount:
        raise Problem(HTTPStatus.FORBIDDEN, "The brand ID is not one that this access token may act for") from None
    wanted = read_new_webhook(body)
    try:
        url = normalise_url(wanted.endpoint)
        made = register(
            installation,
            account_id,
            by=by,
            enabled=wanted.enabled,
            dialect=DIALECT,
            demand=lambda webhooks, account: _demand_that_it_is_new(webhooks, account, wanted, url),
            url=wanted.endpoint,
            event_types=wanted.events,
            contract=CONTRACT,
        )
    except InvalidWebhook as error:
        raise refusal(error) from None
    response.headers["Location"] = _location(request, made.webhook)
    return _shown(made.webhook, made.url)


@router.get("", summary="All webhooks of a brand", responses=described(HTTPStatus.NOT_FOUND))
def list_(caller: Reader, installation: Served, brand: Brand) -> list[WebhookResponse]:
    with found_or(NO_WEBHOOKS), installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        found = webhooks.list(account_of(session, caller, brand), dialect=DIALECT)
        return [_shown(webhook, webhooks.url(webhook)) for webhook in found]


@router.get("/{id}", summary="One webhook", responses=described(HTTPStatus.NOT_FOUND))
def get(caller: Reader, installation: Served, brand: Brand, identifier: WebhookId) -> WebhookResponse:
    not_there = f"A webhook with ID: {identifier} for brandId: {brand} was not found"
    with found_or(not_there), installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        webhook = webhook_of(webhooks, account_of(session, caller, brand), identifier)
        return _shown(webhook, webhooks.url(webhook))


@router.patch(
    "/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Switch a webhook on or off",
    responses=described(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    ),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SWITCH}}}},
)
def switch(*, caller: Manager, installation: Served, by: By, brand: Brand, identifier: WebhookId, body: Body) -> None:
    with found_or(NO_WEBHOOK):
        with installation.transaction() as session:
            account = account_of(session, caller, brand)
            webhook = webhook_of(Webhooks(session, installation), account, identifier)
        change(installation, account.id, webhook.id, by=by, enabled=read_enabled(body))


@router.delete(
    "/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Delete a webhook",
    responses=described(HTTPStatus.NOT_FOUND),
)
def delete(caller: Manager, installation: Served, by: By, brand: Brand, identifier: WebhookId) -> None:
    with found_or(NO_WEBHOOKS):
        with installation.transaction() as session:
            account = account_of(session, caller, brand)
            webhook = webhook_of(Webhooks(session, installation), account, identifier)
        remove(installation, account.id, webhook.id, by=by)


def _demand_that_it_is_new(webhooks: Webhooks, account: Account, wanted: NewWebhook, url: str) -> None:
    types = set(wanted.events)
    for webhook in webhooks.list(account, dialect=DIALECT):
        # A type that stands twice, or elsewhere in the list, makes no other subscription.
        if set(webhook.event_types) == types and webhooks.called_url(webhook) == url:
            raise Problem(HTTPStatus.CONFLICT, wanted.conflict)


def _location(request: Request, webhook: Webhook) -> str:
    base = request.base_url
    return f"{base.scheme}://{base.netloc}{quote(request.scope['path'])}/{webhook.id}"


def _shown(webhook: Webhook, url: str) -> WebhookResponse:
    return WebhookResponse(
        id=webhook.id,
        created=whole_seconds(webhook.created_at),
        updated=whole_seconds(webhook.updated_at),
        endpoint=url,
        events=webhook.event_types,
        enabled=webhook.enabled,
    )
