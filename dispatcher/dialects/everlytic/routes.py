"""Everlytic's calls. The vendor documents the PUT; making, listing, reading and deleting are ours in its manner."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Dialect
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.db.models import Account, Webhook
from dispatcher.dialects.everlytic.fields import EVENT_TYPES, Kept, read_payload, refusal, shown, wanted_status
from dispatcher.errors import InvalidWebhook, NotFound
from dispatcher.events.event import MAX_TEXT
from dispatcher.installation import Installation
from dispatcher.web.authentication import by_key_through, caller_who_may
from dispatcher.web.middleware import read_body
from dispatcher.web.problems import Problem, invalid
from dispatcher.web.serving import Served
from dispatcher.webhooks.registration import change, register, remove
from dispatcher.webhooks.store import Registered, Webhooks

DIALECT = "everlytic"

router = APIRouter(prefix="/api/2.0/production/sms/webhooks", tags=["webhooks"])


class AuthDetails(BaseModel):
    """What callbacks are authorized with, as it was given."""

    username: str
    password: Annotated[str, Field(repr=False)]


class ShownWebhook(BaseModel):
    """A webhook. Its credentials are in clear: the vendor's clients expect them."""

    id: UUID
    url: str
    verb: Annotated[str, Field(description="In lower case, however it was given.")]
    auth_details: AuthDetails | None
    auth_type: Literal["basic"] | None
    status: Literal["enabled", "disabled"]
    updated_timestamp: Annotated[str, Field(description="ISO 8601 in UTC, with the offset `+00:00`.")]
    created_timestamp: str
    event_types: Annotated[list[str], Field(description="In lower case, however they were given.")]


class One(BaseModel):
    """Around one webhook."""

    webhook: ShownWebhook


class Several(BaseModel):
    """Around all webhooks of the account, the oldest first."""

    webhooks: list[ShownWebhook]


class AnswerOfOne(BaseModel):
    """The call succeeded."""

    status: Literal["success"] = "success"
    data: One


class AnswerOfSeveral(BaseModel):
    """The call succeeded."""

    status: Literal["success"] = "success"
    data: Several


_ERROR = {
    "type": "object",
    "required": ["status", "data"],
    "properties": {"status": {"const": "error"}, "data": {"type": "string"}},
}
_PAYLOAD = {
    "type": "object",
    "required": ["webhook"],
    "properties": {
        "webhook": {
            "type": "object",
            "minProperties": 1,
            "description": "What is left out or null stays as it is. A new webhook needs types, URL and verb.",
            "properties": {
                "event_types": {
                    "type": ["array", "null"],
                    "contains": {"enum": [*EVENT_TYPES, *map(str.capitalize, EVENT_TYPES)]},
                    "description": "In any case. Unknown ones are passed over while a known one is left.",
                },
                "url": {
                    "type": ["string", "null"],
                    "pattern": "^https?://",
                    "description": "Where callbacks go. With it a verb is required.",
                },
                "verb": {"type": ["string", "null"], "pattern": "^([Pp][Oo][Ss][Tt]|[Gg][Ee][Tt])$"},
                "auth_type": {"enum": ["basic", None], "description": "Null takes the authorization away."},
                "auth_details": {
                    "type": ["object", "null"],
                    "required": ["username", "password"],
                    "properties": {
                        "username": {"type": "string", "minLength": 1},
                        "password": {"type": "string", "minLength": 1},
                    },
                    "description": "Required with `basic`.",
                },
                "status": {
                    "enum": ["enabled", "disabled", None],
                    "description": "A new webhook is enabled by default.",
                },
            },
        }
    },
}


def _described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {
        status.value: {"description": status.phrase, "content": {"application/json": {"schema": _ERROR}}}
        for status in (
            *statuses,
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            HTTPStatus.SERVICE_UNAVAILABLE,
        )
    }
    unauthorized = {"description": "Unauthorized", "content": {"application/json": {"schema": {"type": "string"}}}}
    return described | {HTTPStatus.UNAUTHORIZED.value: unauthorized}


_OF_A_QUESTION = _described()
_OF_A_PAYLOAD = _described(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_TAKES_A_PAYLOAD = {"requestBody": {"required": True, "content": {"application/json": {"schema": _PAYLOAD}}}}


def _owner_for(scope: Scope) -> Callable[[Caller, Installation, str | None], UUID]:
    """A dependency: the account that the caller, who has this scope, acts for."""

    def owner(
        caller: Annotated[Caller, Depends(caller_who_may(scope))],
        installation: Served,
        account: Annotated[
            str | None,
            Query(max_length=MAX_TEXT, description="Only with an operator's key, and then required: for whom it acts."),
        ] = None,
    ) -> UUID:
        if caller.account_id is not None:
            if account not in {None, caller.account}:
                raise Problem(HTTPStatus.FORBIDDEN, "the API key is another account's")
            return caller.account_id
        if account is None:
            raise invalid(("account", "is required with an operator's key"))
        with installation.transaction() as session:
            return find_account(session, account).id

    return owner


Reader = Annotated[UUID, Depends(_owner_for(Scope.READ))]
Manager = Annotated[UUID, Depends(_owner_for(Scope.MANAGE))]
By = Annotated[Dialect, Depends(by_key_through(DIALECT))]
Body = Annotated[bytes, Depends(read_body)]


@router.post("", summary="Register a webhook", responses=_OF_A_PAYLOAD, openapi_extra=_TAKES_A_PAYLOAD)
def create(owner: Manager, installation: Served, by: By, body: Body) -> AnswerOfOne:
    wanted = read_payload(body, None)
    try:
        made = register(
            installation, owner, by=by, enabled=wanted.enabled is not False, dialect=DIALECT, **wanted.fields
        )
    except InvalidWebhook as error:
        raise refusal(error) from None
    return _answer_of(made)


@router.get("", summary="All webhooks", responses=_OF_A_QUESTION)
def list_(owner: Reader, installation: Served) -> AnswerOfSeveral:
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        found = webhooks.list(session.get_one(Account, owner), dialect=DIALECT)
        return AnswerOfSeveral(data=Several(webhooks=[_shown(webhooks, webhook) for webhook in found]))


@router.get("/{webhook_id}", summary="One webhook", responses=_OF_A_QUESTION)
def get(owner: Reader, installation: Served, webhook_id: str) -> AnswerOfOne:
    return _answer(installation, owner, webhook_id)


@router.put(
    "/{webhook_id}",
    summary="Change what is given of a webhook",
    responses=_OF_A_PAYLOAD,
    openapi_extra=_TAKES_A_PAYLOAD,
)
def update(owner: Manager, installation: Served, by: By, webhook_id: str, body: Body) -> AnswerOfOne:
    try:
        changed = change(
            installation,
            owner,
            _id(webhook_id),
            by=by,
            dialect=DIALECT,
            enabled=wanted_status(body),
            derive=lambda kept: read_payload(body, Kept(kept.secrets.authorization)).fields,
        )
    except InvalidWebhook as error:
        raise refusal(error) from None
    return _answer_of(changed)


@router.delete("/{webhook_id}", summary="Delete a webhook; it is answered as it was", responses=_OF_A_QUESTION)
def delete(owner: Manager, installation: Served, by: By, webhook_id: str) -> AnswerOfOne:
    answer = _answer(installation, owner, webhook_id)
    remove(installation, owner, answer.data.webhook.id, by=by)
    return answer


def _answer(installation: Installation, owner: UUID, webhook_id: str) -> AnswerOfOne:
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        webhook = _find(session, webhooks, owner, webhook_id)
        return AnswerOfOne(data=One(webhook=_shown(webhooks, webhook)))


def _answer_of(registered: Registered) -> AnswerOfOne:
    document = shown(registered.webhook, registered.url, registered.secrets)
    return AnswerOfOne(data=One(webhook=ShownWebhook.model_validate(document)))


def _find(session: Session, webhooks: Webhooks, owner: UUID, webhook_id: str) -> Webhook:
    return webhooks.get_of(DIALECT, session.get_one(Account, owner), _id(webhook_id))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("webhook", text) from None


def _shown(webhooks: Webhooks, webhook: Webhook) -> ShownWebhook:
    return ShownWebhook.model_validate(shown(webhook, webhooks.url(webhook), webhooks.secrets(webhook)))
