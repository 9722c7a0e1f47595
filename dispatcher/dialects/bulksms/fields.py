"""BulkSMS's WebhookEntry and Webhook, as a webhook's fields and back. Pure."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from dispatcher.db.models import Webhook
from dispatcher.errors import InvalidWebhook
from dispatcher.urls import MAX_URL
from dispatcher.webhooks import WebhookFields

TriggerScope: TypeAlias = Literal["SENT", "RECEIVED"]
InvokeOption: TypeAlias = Literal["ONE", "MANY"]

EVENT_TYPES: dict[TriggerScope, str] = {"SENT": "message.outbound", "RECEIVED": "message.inbound"}
MANY = 10  # messages in one call

_VENDOR_NAMES = {"contact_email": "contactEmailAddress"}  # where a member is not called as the field it is kept in


class WebhookEntry(BaseModel):
    """What a webhook is to be. Members that are not known here are passed over: clients send back what they were given.
    An optional one that is left out, or null, has its default, in an update as well: an entry is always a whole one."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)

    name: Annotated[str, Field(min_length=1, max_length=255, description="No two webhooks of an account share one.")]
    url: Annotated[
        str,
        Field(min_length=1, max_length=MAX_URL, description="An http or https URL.", examples=["https://x.org/hook"]),
    ]
    trigger_scope: Annotated[TriggerScope, Field(description="Case-sensitive.")]
    invoke_option: Annotated[
        InvokeOption | None, Field(description=f"One message a call, or up to {MANY}; of a call that failed, alone.")
    ] = "ONE"
    active: Annotated[
        bool | None, Field(description="If true, the URL must answer `[]` with a 2xx, or nothing is made or changed.")
    ] = True
    contact_email_address: Annotated[str | None, Field(description="Who is told of problems; null: nobody.")] = None
    on_web_app: Annotated[bool | None, Field(description="Kept and given back; there is no such web app here.")] = True

    @property
    def is_active(self) -> bool:
        return self.active is not False


class WebhookDocument(BaseModel):
    """A webhook as it is answered."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    id: int
    name: str
    url: str
    trigger_scope: TriggerScope
    active: bool
    contact_email_address: str | None
    on_web_app: bool
    invoke_option: InvokeOption


def read_entry(body: bytes) -> WebhookEntry:
    """The entry in a request's body, whatever type that says it has. Raises InvalidWebhook for the first member that
    does not fit."""
    try:
        return WebhookEntry.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "body"
        reason = "is required" if first["type"] == "missing" else f"is refused: {first['msg']}"
        raise InvalidWebhook(field, reason) from None


def vendor_name(field: str) -> str:
    """What a webhook's field is called here, for a text about it."""
    return _VENDOR_NAMES.get(field, field)


def fields_of(entry: WebhookEntry) -> WebhookFields:
    """What makes a webhook of an entry, its contract left aside."""
    return {
        "name": entry.name,
        "url": entry.url,
        "event_types": [EVENT_TYPES[entry.trigger_scope]],
        "contact_email": entry.contact_email_address,
        "dialect_fields": {"triggerScope": entry.trigger_scope, "onWebApp": entry.on_web_app is not False},
    }


def contract_of(entry: WebhookEntry) -> dict[str, Any]:
    """The members of the contract that an entry decides on."""
    many = entry.invoke_option == "MANY"
    return {"user_agent": "BulkSMS Invoker", "batch_size": MANY if many else 1, "retry_alone": many}


def document_of(webhook: Webhook, url: str) -> WebhookDocument:
    """A webhook as it is answered, with its URL in clear."""
    return WebhookDocument(
        id=webhook.number,
        name=webhook.name or "",
        url=url,
        trigger_scope=webhook.dialect_fields["triggerScope"],
        active=webhook.enabled,
        contact_email_address=webhook.contact_email,
        on_web_app=webhook.dialect_fields["onWebApp"],
        invoke_option="MANY" if webhook.batch_size > 1 else "ONE",
    )
