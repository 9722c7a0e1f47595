"""Sinch's calls: webhooks of a project (our account), each of one app."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.dialects.bodies import json_object
from dispatcher.dialects.frame import (
    BODY_ERRORS,
    Listing,
    Owner,
    OwnWebhooks,
    own_webhooks,
    owner_of_name,
    readable_webhooks,
)
from dispatcher.dialects.lists import whole_list
from dispatcher.dialects.sinch import fields
from dispatcher.dialects.sinch.errors import SINCH
from dispatcher.dialects.sinch.schemas import CREATE_SCHEMA, UPDATE_SCHEMA, WebhookDocument, Webhooks
from dispatcher.dialects.view import WebhookView
from dispatcher.errors import InvalidWebhook
from dispatcher.installation import Installation
from dispatcher.web.authentication import WhoMay
from dispatcher.web.middleware import read_fields
from dispatcher.web.problems import Problem
from dispatcher.web.serving import Served
from dispatcher.webhooks.fields import WebhookFields

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["webhooks"])

ProjectId = Annotated[str, Path(description="The project: the name of an account.")]
WebhookId = Annotated[str, Path(description="The webhook's id.")]
Body = Annotated[bytes, Depends(read_fields)]


def _owner_who_may(scope: Scope) -> Callable[[Caller, Installation, str], Owner]:
    def owner(caller: Annotated[Caller, Depends(WhoMay(scope))], installation: Served, project_id: ProjectId) -> Owner:
        return owner_of_name(installation, caller, project_id)

    return owner


Readable = Annotated[OwnWebhooks, readable_webhooks(SINCH, _owner_who_may(Scope.READ))]
Manageable = Annotated[OwnWebhooks, own_webhooks(SINCH, _owner_who_may(Scope.MANAGE))]


@router.get(
    "/apps/{app_id}/webhooks",
    summary="List the webhooks of an app",
    response_model=Webhooks,
    responses=SINCH.described(),
)
def list_webhooks(own: Readable, app_id: Annotated[str, Path(description="The app.")]) -> Any:
    if not app_id.isprintable():
        return Webhooks(webhooks=[])  # no webhook can have such an app
    return whole_list(own, _document, app=app_id, around=Webhooks(webhooks=[]))


@router.post(
    "/webhooks",
    summary="Create a webhook",
    responses=SINCH.described(*BODY_ERRORS),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": CREATE_SCHEMA}}}},
)
def create_webhook(own: Manageable, body: Body) -> WebhookDocument:
    members = fields.read_webhook(_object(body))
    made = own.register(
        precondition=lambda listing: _refuse_beyond_the_limit(listing, members["app_id"]),
        **fields.new_fields(members),
    )
    return _document(made)


@router.get("/webhooks/{webhook_id}", summary="Get a webhook", responses=SINCH.described(HTTPStatus.NOT_FOUND))
def get_webhook(own: Readable, webhook_id: WebhookId) -> WebhookDocument:
    return _document(own.find(webhook_id))


@router.patch(
    "/webhooks/{webhook_id}",
    summary="Change a webhook",
    responses=SINCH.described(HTTPStatus.NOT_FOUND, *BODY_ERRORS),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": UPDATE_SCHEMA}}}},
)
def update_webhook(
    *,
    own: Manageable,
    webhook_id: WebhookId,
    body: Body,
    update_mask: Annotated[list[str] | None, Query(description="Members to change, separated by commas.")] = None,
) -> WebhookDocument:
    document = _object(body)
    mask = fields.read_mask(update_mask or [], document.get("update_mask"))
    members = fields.read_changes(document, mask)
    webhook = own.id_of(webhook_id)

    def room_in_its_app(listing: Listing) -> None:
        if "app_id" in members:
            _refuse_beyond_the_limit(listing, members["app_id"], excluding=webhook)

    def derive(kept: WebhookView) -> WebhookFields:
        credentials = fields.read_masked_credentials(document, mask, kept.secrets.authorization)
        return fields.changed_fields(members | credentials, kept)

    return _document(own.change(webhook, derive, enabled=fields.enables(members), precondition=room_in_its_app))


@router.delete("/webhooks/{webhook_id}", summary="Delete a webhook", responses=SINCH.described(HTTPStatus.NOT_FOUND))
def delete_webhook(own: Manageable, webhook_id: WebhookId) -> dict[str, Any]:
    own.remove(webhook_id)
    return {}


def _object(body: bytes) -> dict[str, Any]:
    document = json_object(body)
    if document is None:
        raise Problem(HTTPStatus.BAD_REQUEST, "Malformed request")
    return document


def _refuse_beyond_the_limit(listing: Listing, app: str, excluding: UUID | None = None) -> None:
    there = listing(app=app)
    if len(there) >= fields.MAX_PER_APP and excluding not in there:
        raise InvalidWebhook("app_id", f"already has {fields.MAX_PER_APP} webhooks, the maximum for an app")


def _document(webhook: WebhookView) -> WebhookDocument:
    return WebhookDocument(**fields.write_webhook(webhook))
