"""flexEngage's calls about webhooks: create, list, show, enable and disable, delete."""

from collections.abc import Collection, Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from dispatcher.dialects.flexengage.brands import Manageable, Readable, WebhookId
from dispatcher.dialects.flexengage.errors import FLEXENGAGE
from dispatcher.dialects.flexengage.fields import CONTRACT, NewWebhook, is_taken, read_enabled, read_new_webhook
from dispatcher.dialects.flexengage.times import whole_seconds
from dispatcher.dialects.frame import BODY_ERRORS
from dispatcher.dialects.lists import whole_list
from dispatcher.dialects.view import WebhookView
from dispatcher.event_types import MAX_LENGTH
from dispatcher.web.middleware import read_fields
from dispatcher.web.own_urls import OwnUrl
from dispatcher.web.problems import Problem
from dispatcher.webhooks.fields import MAX_EVENT_TYPES

router = APIRouter(prefix="/v1/{brandId}/webhooks", tags=["webhooks"])

Body = Annotated[bytes, Depends(read_fields)]

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
            "description": "Event types; a prefix of whole parts takes all types below it.",
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
    endpoint: Annotated[str, Field(description="As given.")]
    events: list[str]
    enabled: bool


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Create a webhook",
    responses={
        HTTPStatus.CREATED.value: {"headers": {"Location": _LOCATION}},
        **FLEXENGAGE.described(HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, *BODY_ERRORS),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _NEW}}}},
)
def create(own: Manageable, body: Body, called: OwnUrl, response: Response) -> WebhookResponse:
    wanted = read_new_webhook(body)
    webhook = own.register(
        enabled=wanted.enabled,
        precondition=lambda listing: _refuse_a_known_one(listing(url=wanted.endpoint).values(), wanted),
        url=wanted.endpoint,
        event_types=wanted.events,
        contract=CONTRACT,
    )
    response.headers["Location"] = f"{called}/{webhook.id}"
    return _shown(webhook)


@router.get(
    "",
    summary="List the webhooks of a brand",
    response_model=list[WebhookResponse],
    responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND),
)
def list_(own: Readable) -> Response:
    return whole_list(own, _shown)


@router.get("/{id}", summary="Show a webhook", responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND))
def get(own: Readable, identifier: WebhookId) -> WebhookResponse:
    return _shown(own.find(identifier))


@router.patch(
    "/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Enable or disable a webhook",
    responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, *BODY_ERRORS),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SWITCH}}}},
)
def switch(own: Manageable, identifier: WebhookId, body: Body) -> None:
    webhook = own.id_of(identifier)
    own.change(webhook, enabled=read_enabled(body))


@router.delete(
    "/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Delete a webhook",
    responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND),
)
def delete(own: Manageable, identifier: WebhookId) -> None:
    own.remove(identifier)


def _refuse_a_known_one(others: Iterable[Collection[str]], wanted: NewWebhook) -> None:
    if is_taken(wanted.events, others):
        raise Problem(HTTPStatus.CONFLICT, wanted.conflict)


def _shown(webhook: WebhookView) -> WebhookResponse:
    return WebhookResponse(
        id=webhook.id,
        created=whole_seconds(webhook.created_at),
        updated=whole_seconds(webhook.updated_at),
        endpoint=webhook.url,
        events=list(webhook.event_types),
        enabled=webhook.enabled,
    )
