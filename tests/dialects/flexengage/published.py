"""flexEngage's answers, by its API page. It marks no member as required; its examples have all of them, but for a
`response` where none came. Null is ours for a `startId` that was not given, the `lastId` of the last page and the
`type` of an event that is no longer kept. So are the bodies of 401, 403 and 429, and 405, 408, 413 and 503."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from tests.dialects.published import NO_BODY, Document, Published

Time: TypeAlias = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Status: TypeAlias = Literal["PENDING", "SUCCESS", "FAILED"]


class WebhookResponse(Document):
    id: UUID
    created: Time
    updated: Time
    endpoint: str
    events: list[str]
    enabled: bool


class Event(Document):
    id: UUID
    type: str | None
    created: Time
    updated: Time
    status: Status


class Page(Document):
    size: int
    startId: UUID | None  # noqa: N815 - the vendor's names here and below
    lastId: UUID | None  # noqa: N815


class EventsPage(Document):
    events: list[Event]
    page: Page


class Request(Document):
    endpoint: str
    headers: dict[str, str]


class Response(Document):
    statusCode: int  # noqa: N815
    headers: dict[str, str]
    body: str
    time: int


class Attempt(Document):
    id: UUID
    created: Time
    status: Status
    request: Request


class AnsweredAttempt(Attempt):
    response: Response


class EventWithAttempts(Event):
    attempts: list[AnsweredAttempt | Attempt]


class Error(Document):
    message: str
    description: str
    status: int


class ValidationError(Error):
    validations: dict[str, str]


_WEBHOOKS = "/v1/{brandId}/webhooks"

PUBLISHED = Published(
    calls={
        f"POST {_WEBHOOKS}": {201: WebhookResponse},
        f"GET {_WEBHOOKS}": {200: list[WebhookResponse]},
        f"GET {_WEBHOOKS}/{{id}}": {200: WebhookResponse},
        f"PATCH {_WEBHOOKS}/{{id}}": {204: NO_BODY},
        f"DELETE {_WEBHOOKS}/{{id}}": {204: NO_BODY},
        f"GET {_WEBHOOKS}/{{id}}/events": {200: EventsPage},
        f"GET {_WEBHOOKS}/{{id}}/events/{{eventId}}": {200: EventWithAttempts},
        f"POST {_WEBHOOKS}/{{id}}/events/{{eventId}}/retry": {202: NO_BODY},
    },
    errors={
        422: ValidationError,
        **dict.fromkeys((401, 403, 404, 405, 408, 409, 413, 429, 500, 503), Error),
    },
)
