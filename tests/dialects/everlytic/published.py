"""Everlytic's answers, by its page on updating a webhook for transactional SMS. The other calls are ours, in its style:
their answers contain the same webhook. Statuses other than 200, 400 and 401 are ours, too."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from tests.dialects.published import Document, Published

Timestamp: TypeAlias = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$")]


class AuthDetails(Document):
    username: str
    password: str


class Webhook(Document):
    id: UUID
    url: str
    verb: Literal["post", "get"]
    auth_details: AuthDetails | None
    auth_type: Literal["basic"] | None
    status: Literal["enabled", "disabled"]
    updated_timestamp: Timestamp
    created_timestamp: Timestamp
    event_types: list[Literal["sent", "failed", "bounce", "reply", "delivered"]]


class One(Document):
    webhook: Webhook


class Several(Document):
    webhooks: list[Webhook]


class AnswerOfOne(Document):
    status: Literal["success"]
    data: One


class AnswerOfSeveral(Document):
    status: Literal["success"]
    data: Several


class Error(Document):
    status: Literal["error"]
    data: str


_WEBHOOKS = "/api/2.0/production/sms/webhooks"

PUBLISHED = Published(
    calls={
        f"POST {_WEBHOOKS}": {200: AnswerOfOne},
        f"GET {_WEBHOOKS}": {200: AnswerOfSeveral},
        f"GET {_WEBHOOKS}/{{webhook_id}}": {200: AnswerOfOne},
        f"PUT {_WEBHOOKS}/{{webhook_id}}": {200: AnswerOfOne},
        f"DELETE {_WEBHOOKS}/{{webhook_id}}": {200: AnswerOfOne},
    },
    errors={
        401: Literal["Invalid credentials."],
        **dict.fromkeys((400, 403, 404, 405, 408, 409, 413, 429, 500, 503), Error),
    },
)
