"""BulkSMS's five calls."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from dispatcher.accounts.actor import Dialect
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.db.models import Account, Webhook
from dispatcher.dialects.bulksms.answers import described
from dispatcher.dialects.bulksms.fields import (
    WebhookDocument,
    WebhookEntry,
    changed_fields,
    document_of,
    new_fields,
    read_entry,
)
from dispatcher.errors import NotFound
from dispatcher.installation import Installation
from dispatcher.web.authentication import by_key_through, caller_who_may
from dispatcher.web.middleware import read_body
from dispatcher.web.problems import Problem
from dispatcher.web.serving import Served
from dispatcher.webhooks.registration import change, register, remove
from dispatcher.webhooks.store import Webhooks

DIALECT = "bulksms"

router = APIRouter(prefix="/v1")

_ID: dict[str, Any] = {
    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "example": "234"}]
}
_ENTRY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": WebhookEntry.model_json_schema()}}}
}
_OF_A_BODY = HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def _owner_who_may(scope: Scope) -> Callable[[Caller], UUID]:
    """A dependency: the account whose webhooks a call is about."""

    def check(caller: Annotated[Caller, Depends(caller_who_may(scope))]) -> UUID:
        if caller.account_id is None:
            raise Problem(HTTPStatus.FORBIDDEN, "an account's own API key is needed: no path here names an account")
        return caller.account_id

    return check


def _number(request: Request) -> int:
    """The id in the path. Raises NotFound for what can be none."""
    text: str = request.path_params["id"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise NotFound("webhook", text)
    return int(text)


Reader = Annotated[UUID, Depends(_owner_who_may(Scope.READ))]
Manager = Annotated[UUID, Depends(_owner_who_may(Scope.MANAGE))]
By = Annotated[Dialect, Depends(by_key_through(DIALECT))]
Number = Annotated[int, Depends(_number)]
Body = Annotated[bytes, Depends(read_body)]


@router.get("/webhooks", summary="List webhooks", responses=described())
def list_webhooks(owner: Reader, installation: Served) -> list[WebhookDocument]:
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        owned = webhooks.list(session.get_one(Account, owner), dialect=DIALECT)
        return [document_of(webhook, webhooks.url(webhook)) for webhook in owned]


@router.post("/webhooks", summary="Create a webhook", responses=described(*_OF_A_BODY), openapi_extra=_ENTRY)
def create_webhook(owner: Manager, installation: Served, by: By, body: Body) -> WebhookDocument:
    entry = read_entry(body)
    made = register(
        installation,
        owner,
        by=by,
        enabled=entry.active is not False,
        dialect=DIALECT,
        url_test=True,
        **new_fields(entry),
    )
    return document_of(made.webhook, made.url)


@router.get("/webhooks/{id}", summary="Read a webhook", responses=described(HTTPStatus.NOT_FOUND), openapi_extra=_ID)
def read_webhook(owner: Reader, installation: Served, number: Number) -> WebhookDocument:
    return _document(installation, _found(installation, owner, number))


@router.post(
    "/webhooks/{id}",
    summary="Update a webhook",
    responses=described(HTTPStatus.NOT_FOUND, *_OF_A_BODY),
    openapi_extra=_ID | _ENTRY,
)
def update_webhook(owner: Manager, installation: Served, by: By, number: Number, body: Body) -> WebhookDocument:
    webhook = _found(installation, owner, number)
    entry = read_entry(body)
    changed = change(
        installation,
        owner,
        webhook.id,
        by=by,
        enabled=entry.active,
        url_test=True,
        derive=lambda kept: changed_fields(entry, kept.webhook),
    )
    return document_of(changed.webhook, changed.url)


@router.delete(
    "/webhooks/{id}",
    summary="Delete a webhook",
    response_class=Response,
    responses=described(HTTPStatus.NOT_FOUND) | {200: {"description": "It is deleted. There is no body."}},
    openapi_extra=_ID,
)
def delete_webhook(owner: Manager, installation: Served, by: By, number: Number) -> Response:
    remove(installation, owner, _found(installation, owner, number).id, by=by)
    return Response()


def _found(installation: Installation, owner: UUID, number: int) -> Webhook:
    with installation.transaction() as session:
        return Webhooks(session, installation).get_of(DIALECT, session.get_one(Account, owner), number)


def _document(installation: Installation, webhook: Webhook) -> WebhookDocument:
    with installation.transaction() as session:
        return document_of(webhook, Webhooks(session, installation).url(webhook))
