"""Sinch's calls: webhooks of a project (our account), each of one app."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Dialect
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.db.models import Account, Webhook
from dispatcher.dialects.bodies import json_object
from dispatcher.dialects.sinch import fields
from dispatcher.dialects.sinch.answers import described
from dispatcher.dialects.sinch.schemas import CREATE_SCHEMA, UPDATE_SCHEMA, WebhookDocument, Webhooks
from dispatcher.errors import InvalidWebhook, NotFound, UnknownAccount
from dispatcher.web.authentication import by_key_through, caller_who_may
from dispatcher.web.middleware import read_body
from dispatcher.web.problems import Problem
from dispatcher.web.serving import Served
from dispatcher.webhooks.fields import WebhookFields
from dispatcher.webhooks.registration import change, register, remove
from dispatcher.webhooks.store import Registered
from dispatcher.webhooks.store import Webhooks as OurWebhooks

_ERRORS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_ITEM_ERRORS = {**_ERRORS, **described(HTTPStatus.NOT_FOUND)}
_BODY_ERRORS = described(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["webhooks"])

ProjectId = Annotated[str, Path(description="The project: the name of an account.")]
WebhookId = Annotated[str, Path(description="The webhook's id.")]
Body = Annotated[bytes, Depends(read_body)]


def _account_for(scope: Scope) -> Any:
    def account(
        caller: Annotated[Caller, Depends(caller_who_may(scope))], installation: Served, project_id: ProjectId
    ) -> UUID:
        """The account that a project is. Another account's and an unknown one are the same to the caller."""
        if caller.account_id is not None:
            if project_id != caller.account:
                raise Problem(HTTPStatus.FORBIDDEN, "the project is not the key's")
            return caller.account_id
        try:
            with installation.transaction() as session:
                return find_account(session, project_id).id
        except UnknownAccount:
            raise Problem(HTTPStatus.FORBIDDEN, "the project is not the key's") from None

    return Depends(account)


Reader = Annotated[UUID, _account_for(Scope.READ)]
Manager = Annotated[UUID, _account_for(Scope.MANAGE)]
By = Annotated[Dialect, Depends(by_key_through(fields.DIALECT))]


@router.get("/apps/{app_id}/webhooks", summary="List the webhooks of an app", responses=_ERRORS)
def list_webhooks(
    account_id: Reader, installation: Served, app_id: Annotated[str, Path(description="The app.")]
) -> Webhooks:
    if not app_id.isprintable():
        return Webhooks(webhooks=[])  # there cannot be one
    with installation.transaction() as session:
        webhooks = OurWebhooks(session, installation)
        found = webhooks.list(session.get_one(Account, account_id), dialect=fields.DIALECT, app=app_id)
        return Webhooks(webhooks=[_document(webhooks, webhook) for webhook in found])


@router.post(
    "/webhooks",
    summary="Create a webhook",
    responses={**_ERRORS, **_BODY_ERRORS},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": CREATE_SCHEMA}}}},
)
def create_webhook(account_id: Manager, installation: Served, by: By, body: Body) -> WebhookDocument:
    members = fields.read_webhook(_object(body))
    made = _named(
        lambda: register(
            installation,
            account_id,
            by=by,
            dialect=fields.DIALECT,
            demand=lambda webhooks, account: _demand_room(webhooks, account, members["app_id"]),
            **fields.new_fields(members),
        )
    )
    return _shown(made)


@router.get("/webhooks/{webhook_id}", summary="Get a webhook", responses=_ITEM_ERRORS)
def get_webhook(account_id: Reader, installation: Served, webhook_id: WebhookId) -> WebhookDocument:
    with installation.transaction() as session:
        webhooks = OurWebhooks(session, installation)
        return _document(webhooks, _find(session, webhooks, account_id, webhook_id))


@router.patch(
    "/webhooks/{webhook_id}",
    summary="Change a webhook",
    responses={**_ITEM_ERRORS, **_BODY_ERRORS},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": UPDATE_SCHEMA}}}},
)
def update_webhook(
    *,
    account_id: Manager,
    installation: Served,
    by: By,
    webhook_id: WebhookId,
    body: Body,
    update_mask: Annotated[list[str] | None, Query(description="Members to change, separated by commas.")] = None,
) -> WebhookDocument:
    document = _object(body)
    mask = fields.read_mask(update_mask or [], document.get("update_mask"))
    members = fields.read_changes(document, mask)
    with installation.transaction() as session:
        identifier = _find(session, OurWebhooks(session, installation), account_id, webhook_id).id

    def room_in_its_app(webhooks: OurWebhooks, account: Account) -> None:
        if "app_id" in members and members["app_id"] != webhooks.get(account, identifier).app:
            _demand_room(webhooks, account, members["app_id"])

    def derive(kept: Registered) -> WebhookFields:
        credentials = fields.read_masked_credentials(document, mask, kept.secrets.authorization)
        return fields.changed_fields(members | credentials, kept.webhook.dialect_fields)

    changed = _named(
        lambda: change(
            installation,
            account_id,
            identifier,
            by=by,
            demand=room_in_its_app,
            derive=derive,
        )
    )
    return _shown(changed)


@router.delete("/webhooks/{webhook_id}", summary="Delete a webhook", responses=_ITEM_ERRORS)
def delete_webhook(account_id: Manager, installation: Served, by: By, webhook_id: WebhookId) -> dict[str, Any]:
    with installation.transaction() as session:
        webhook = _find(session, OurWebhooks(session, installation), account_id, webhook_id)
    remove(installation, account_id, webhook.id, by=by)
    return {}


def _object(body: bytes) -> dict[str, Any]:
    document = json_object(body)
    if document is None:
        raise Problem(HTTPStatus.BAD_REQUEST, "Malformed request")
    return document


def _find(session: Session, webhooks: OurWebhooks, account_id: UUID, webhook_id: str) -> Webhook:
    try:
        identifier = UUID(webhook_id)
    except ValueError:
        raise NotFound("webhook", "of this id") from None
    return webhooks.get_of(fields.DIALECT, session.get_one(Account, account_id), identifier)


def _demand_room(webhooks: OurWebhooks, account: Account, app: str) -> None:
    if len(webhooks.list(account, dialect=fields.DIALECT, app=app)) >= fields.MOST_PER_APP:
        raise InvalidWebhook("app_id", f"has {fields.MOST_PER_APP} webhooks already, the most that an app can have")


def _shown(registered: Registered) -> WebhookDocument:
    return WebhookDocument(**fields.write_webhook(registered.webhook, registered.url, registered.secrets))


def _document(webhooks: OurWebhooks, webhook: Webhook) -> WebhookDocument:
    return WebhookDocument(**fields.write_webhook(webhook, webhooks.url(webhook), webhooks.secrets(webhook)))


_THEIR_NAMES = {"url": "target", "app": "app_id", "nonce_secret": "secret"}


def _named(act: Any) -> Registered:
    """What the core refuses is told by the vendor's name of the member."""
    try:
        made: Registered = act()
    except InvalidWebhook as error:
        raise InvalidWebhook(_THEIR_NAMES.get(error.field, error.field), error.reason) from None
    return made
