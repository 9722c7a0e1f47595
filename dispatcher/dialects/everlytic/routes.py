"""Everlytic's calls. The vendor documents only PUT; those to create, list, show and delete are ours, in its style."""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.dialects.everlytic.errors import EVERLYTIC, described
from dispatcher.dialects.everlytic.fields import EVENT_TYPES, read_enabled, read_payload, shown
from dispatcher.dialects.frame import BODY_ERRORS, Owner, OwnWebhooks, own_webhooks, owner_of_name, readable_webhooks
from dispatcher.dialects.lists import whole_list
from dispatcher.dialects.view import WebhookView
from dispatcher.events.event import MAX_TEXT
from dispatcher.installation import Installation
from dispatcher.web.authentication import WhoMay
from dispatcher.web.middleware import read_fields
from dispatcher.web.ownership import account_named
from dispatcher.web.serving import Served

router = APIRouter(prefix="/api/2.0/production/sms/webhooks", tags=["webhooks"])


class AuthDetails(BaseModel):
    """The credentials that callbacks carry, as given."""

    username: str
    password: Annotated[str, Field(repr=False)]


class ShownWebhook(BaseModel):
    """A webhook. Its credentials are in clear, as the vendor's clients expect, for a key with the scope `manage`; for
    others the password is `***`."""

    id: UUID
    url: str
    verb: Annotated[str, Field(description="Always in lower case.")]
    auth_details: AuthDetails | None
    auth_type: Literal["basic"] | None
    status: Literal["enabled", "disabled"]
    updated_timestamp: Annotated[str, Field(description="ISO 8601 in UTC, with the offset `+00:00`.")]
    created_timestamp: str
    event_types: Annotated[list[str], Field(description="Always in lower case.")]


class One(BaseModel):
    """Wraps one webhook."""

    webhook: ShownWebhook


class Several(BaseModel):
    """Wraps all webhooks of the account, oldest first."""

    webhooks: list[ShownWebhook]


class AnswerOfOne(BaseModel):
    """The call succeeded."""

    status: Literal["success"] = "success"
    data: One


class AnswerOfSeveral(BaseModel):
    """The call succeeded."""

    status: Literal["success"] = "success"
    data: Several


_PAYLOAD = {
    "type": "object",
    "required": ["webhook"],
    "properties": {
        "webhook": {
            "type": "object",
            "minProperties": 1,
            "description": "Members that are left out or null stay unchanged. A new webhook needs types, URL and verb.",
            "properties": {
                "event_types": {
                    "type": ["array", "null"],
                    "contains": {"enum": [*EVENT_TYPES, *map(str.capitalize, EVENT_TYPES)]},
                    "description": "In upper or lower case. Unknown ones are ignored if there is a known one.",
                },
                "url": {
                    "type": ["string", "null"],
                    "pattern": "^https?://",
                    "description": "Where callbacks go. Requires a verb.",
                },
                "verb": {"type": ["string", "null"], "pattern": "^([Pp][Oo][Ss][Tt]|[Gg][Ee][Tt])$"},
                "auth_type": {"enum": ["basic", None], "description": "Null removes the authorization."},
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


_OF_A_QUESTION = described()
_OF_A_PAYLOAD = described(*BODY_ERRORS)
_TAKES_A_PAYLOAD = {"requestBody": {"required": True, "content": {"application/json": {"schema": _PAYLOAD}}}}


def _owner_who_may(scope: Scope) -> Callable[[Caller, Installation, str | None], Owner]:
    def owner(
        caller: Annotated[Caller, Depends(WhoMay(scope))],
        installation: Served,
        account: Annotated[
            str | None,
            Query(
                max_length=MAX_TEXT,
                description="The account to act for. Only for an operator's key, which requires it.",
            ),
        ] = None,
    ) -> Owner:
        return owner_of_name(installation, caller, account_named(caller, account))

    return owner


Readable = Annotated[OwnWebhooks, readable_webhooks(EVERLYTIC, _owner_who_may(Scope.READ))]
Manageable = Annotated[OwnWebhooks, own_webhooks(EVERLYTIC, _owner_who_may(Scope.MANAGE))]
Body = Annotated[bytes, Depends(read_fields)]


@router.post("", summary="Register a webhook", responses=_OF_A_PAYLOAD, openapi_extra=_TAKES_A_PAYLOAD)
def create(own: Manageable, body: Body) -> AnswerOfOne:
    fields = read_payload(body, None)
    return _answer(own.register(enabled=read_enabled(body) is not False, **fields))


@router.get("", summary="List webhooks", response_model=AnswerOfSeveral, responses=_OF_A_QUESTION)
def list_(own: Readable) -> Response:
    return whole_list(own, _shown, around=AnswerOfSeveral(data=Several(webhooks=[])))


@router.get("/{webhook_id}", summary="Show a webhook", responses=_OF_A_QUESTION)
def get(own: Readable, webhook_id: str) -> AnswerOfOne:
    return _answer(own.find(webhook_id))


@router.put(
    "/{webhook_id}",
    summary="Change a webhook",
    responses=_OF_A_PAYLOAD,
    openapi_extra=_TAKES_A_PAYLOAD,
)
def update(own: Manageable, webhook_id: str, body: Body) -> AnswerOfOne:
    identifier = own.read_id(webhook_id)
    return _answer(own.change(identifier, lambda kept: read_payload(body, kept), enabled=read_enabled(body)))


@router.delete("/{webhook_id}", summary="Delete a webhook; the answer shows it as it was", responses=_OF_A_QUESTION)
def delete(own: Manageable, webhook_id: str) -> AnswerOfOne:
    webhook = own.find(webhook_id)
    own.remove(webhook_id)
    return _answer(webhook)


def _answer(webhook: WebhookView) -> AnswerOfOne:
    return AnswerOfOne(data=One(webhook=_shown(webhook)))


def _shown(webhook: WebhookView) -> ShownWebhook:
    return ShownWebhook.model_validate(shown(webhook))
