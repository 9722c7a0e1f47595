"""BulkSMS's five calls."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.dialects.bulksms.errors import BULKSMS
from dispatcher.dialects.bulksms.fields import (
    WebhookDocument,
    WebhookEntry,
    changed_fields,
    document_of,
    new_fields,
    read_entry,
)
from dispatcher.dialects.frame import BODY_ERRORS, Owner, OwnWebhooks, own_webhooks, readable_webhooks
from dispatcher.dialects.lists import whole_list
from dispatcher.web.authentication import WhoMay
from dispatcher.web.middleware import read_fields
from dispatcher.web.problems import Problem

router = APIRouter(prefix="/v1")

_ID: dict[str, Any] = {
    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "example": "234"}]
}
_ENTRY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": WebhookEntry.model_json_schema()}}}
}
_OF_A_BODY = HTTPStatus.BAD_REQUEST, *BODY_ERRORS


def _id(request: Request) -> str:
    identifier: str = request.path_params["id"]  # a declared parameter would be described with a 422
    return identifier


def _owner_who_may(scope: Scope) -> Callable[[Caller], Owner]:
    def owner(caller: Annotated[Caller, Depends(WhoMay(scope))]) -> Owner:
        if caller.account_id is None:
            raise Problem(
                HTTPStatus.FORBIDDEN, "an account's own API key is needed: the paths here do not name an account"
            )
        return Owner(caller.account_id, caller)

    return owner


Readable = Annotated[OwnWebhooks, readable_webhooks(BULKSMS, _owner_who_may(Scope.READ))]
Manageable = Annotated[OwnWebhooks, own_webhooks(BULKSMS, _owner_who_may(Scope.MANAGE))]
WebhookId = Annotated[str, Depends(_id)]
Body = Annotated[bytes, Depends(read_fields)]


@router.get("/webhooks", summary="List webhooks", response_model=list[WebhookDocument], responses=BULKSMS.described())
def list_webhooks(own: Readable) -> Response:
    return whole_list(own, document_of)


@router.post("/webhooks", summary="Create a webhook", responses=BULKSMS.described(*_OF_A_BODY), openapi_extra=_ENTRY)
def create_webhook(own: Manageable, body: Body) -> WebhookDocument:
    entry = read_entry(body)
    return document_of(own.register(enabled=entry.active is not False, **new_fields(entry)))


@router.get(
    "/webhooks/{id}", summary="Read a webhook", responses=BULKSMS.described(HTTPStatus.NOT_FOUND), openapi_extra=_ID
)
def read_webhook(own: Readable, identifier: WebhookId) -> WebhookDocument:
    return document_of(own.find(identifier))


@router.post(
    "/webhooks/{id}",
    summary="Update a webhook",
    responses=BULKSMS.described(HTTPStatus.NOT_FOUND, *_OF_A_BODY),
    openapi_extra=_ID | _ENTRY,
)
def update_webhook(own: Manageable, identifier: WebhookId, body: Body) -> WebhookDocument:
    webhook = own.id_of(identifier)
    entry = read_entry(body)
    return document_of(own.change(webhook, lambda kept: changed_fields(entry, kept), enabled=entry.active))


@router.delete(
    "/webhooks/{id}",
    summary="Delete a webhook",
    response_class=Response,
    responses=BULKSMS.described(HTTPStatus.NOT_FOUND) | {200: {"description": "Deleted. There is no body."}},
    openapi_extra=_ID,
)
def delete_webhook(own: Manageable, identifier: WebhookId) -> Response:
    own.remove(identifier)
    return Response()
