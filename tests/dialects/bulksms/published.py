"""BulkSMS's answers, by its OpenAPI description (1.0.0). It marks no member of a webhook as required, and its example
has all seven; an address is null by default. Statuses other than 200, 400, 401 and 404 are ours."""

from typing import Literal

from tests.dialects.published import NO_BODY, Document, Published


class Webhook(Document):
    id: int
    name: str
    url: str
    triggerScope: Literal["SENT", "RECEIVED"]  # noqa: N815 - the vendor's names here and below
    active: bool
    contactEmailAddress: str | None  # noqa: N815
    onWebApp: bool  # noqa: N815


class Error(Document):
    type: str
    title: str
    status: int
    detail: str = ""


PUBLISHED = Published(
    calls={
        "GET /v1/webhooks": {200: list[Webhook]},
        "POST /v1/webhooks": {200: Webhook},
        "GET /v1/webhooks/{id}": {200: Webhook},
        "POST /v1/webhooks/{id}": {200: Webhook},
        "DELETE /v1/webhooks/{id}": {200: NO_BODY},
    },
    errors=dict.fromkeys((400, 401, 403, 404, 405, 408, 409, 413, 429, 500, 503), Error),
)
