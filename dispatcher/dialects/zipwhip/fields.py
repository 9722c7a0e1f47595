"""Converts Zipwhip's parameters to a webhook's fields, and back. Pure."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from dispatcher.dialects.view import WebhookView
from dispatcher.errors import InvalidWebhook
from dispatcher.webhooks.contract import Method
from dispatcher.webhooks.fields import WebhookFields

EVENT_TYPES: dict[tuple[str, str], tuple[str, ...]] = {
    ("message", "delete"): ("message.outbound.deleted", "message.inbound.deleted"),
    ("message", "progress"): (
        "message.outbound.progress",
        "message.outbound.delivered",
        "message.outbound.failed",
        "message.outbound.bounced",
    ),
    ("message", "read"): ("message.inbound.read",),
    ("message", "receive"): ("message.inbound.received",),
    ("message", "send"): ("message.outbound.sent",),
    ("optout", "change"): ("optout.change",),
}

_CONTRACT = {
    "envelope": "object",
    "content_type": "application/json; charset=UTF-8",
    "user_agent": "Jakarta Commons-HttpClient/3.1",
}


class WebhookDocument(BaseModel):
    """A webhook as shown in answers."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    webhook_id: int
    type: str
    event: str
    url: str
    method: Method


def method_of(text: str | None) -> Method:
    """The method that a parameter names, in upper or lower case; POST if it is left out. Raises InvalidWebhook."""
    try:
        return Method(text.upper()) if text else Method.POST
    except ValueError:
        raise InvalidWebhook("method", "must be POST, PUT or GET") from None


def new_fields(kind: str, event: str, url: str, method: Method) -> WebhookFields:
    """The fields of a new webhook. `kind` and `event` are in upper or lower case. Raises InvalidWebhook for unknown
    ones."""
    kind, event = kind.lower(), event.lower()
    events = [known for of, known in EVENT_TYPES if of == kind]
    if not events:
        raise InvalidWebhook("type", "must be message or optout")
    if event not in events:
        raise InvalidWebhook("event", f"must be one of these, for the type {kind}: {', '.join(events)}")
    return {
        "url": url,
        "event_types": EVENT_TYPES[kind, event],
        "contract": {**_CONTRACT, "method": method},
        "signing_keys": (),
        "dialect_fields": {"type": kind, "event": event},
    }


def document_of(webhook: WebhookView) -> WebhookDocument:
    """A webhook as shown in answers, with its URL in clear."""
    return WebhookDocument(
        webhook_id=webhook.number,
        type=webhook.dialect_fields["type"],
        event=webhook.dialect_fields["event"],
        url=webhook.url,
        method=webhook.contract.method,
    )
