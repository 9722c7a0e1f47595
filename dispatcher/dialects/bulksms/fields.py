"""Converts BulkSMS's WebhookEntry to a webhook's fields, and a webhook to BulkSMS's Webhook. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from dispatcher.dialects.view import OutsideChange, WebhookView
from dispatcher.egress.urls import MAX_URL
from dispatcher.errors import InvalidWebhook
from dispatcher.masking.refusals import refusal
from dispatcher.webhooks.fields import WebhookFields

TriggerScope: TypeAlias = Literal["SENT", "RECEIVED"]
InvokeOption: TypeAlias = Literal["ONE", "MANY"]

EVENT_TYPES: dict[TriggerScope, str] = {"SENT": "message.outbound", "RECEIVED": "message.inbound"}
MANY = 10  # messages in one call


class WebhookEntry(BaseModel):
    """The wanted webhook. Unknown members are ignored: clients send back what they received. An optional member that is
    left out gets its default in a new webhook, and stays unchanged in an update. Null is the same as left out, except
    for the address: there it is a value."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)

    name: Annotated[str, Field(min_length=1, max_length=255, description="Unique within the account.")]
    url: Annotated[
        str,
        Field(min_length=1, max_length=MAX_URL, description="An http or https URL.", examples=["https://x.org/hook"]),
    ]
    trigger_scope: Annotated[TriggerScope, Field(description="Case-sensitive.")]
    invoke_option: Annotated[
        InvokeOption | None,
        Field(description=f"One message per call (a new webhook's default), or up to {MANY}; single after a failure."),
    ] = None
    active: Annotated[
        bool | None,
        Field(
            description="If true (a new webhook's default), the URL must answer `[]` with a 2xx; otherwise nothing is "
            "created or changed."
        ),
    ] = None
    contact_email_address: Annotated[
        str | None, Field(description="Where problems are reported; null (a new webhook's default): nowhere.")
    ] = None
    on_web_app: Annotated[
        bool | None,
        Field(description="Stored and returned only: there is no web app here. A new webhook's default is true."),
    ] = None


class WebhookDocument(BaseModel):
    """A webhook as shown in answers. The vendor's model has no `invokeOption`, and its generated clients refuse members
    that their model does not have."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    id: int
    name: str
    url: str
    trigger_scope: TriggerScope
    active: bool
    contact_email_address: str | None
    on_web_app: bool


def read_entry(body: bytes) -> WebhookEntry:
    """The entry in a request's body, regardless of its content type. Raises InvalidWebhook for the first invalid
    member."""
    try:
        return WebhookEntry.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidWebhook(str(first["loc"][0]) if first["loc"] else "body", refusal(first)) from None


def new_fields(entry: WebhookEntry) -> WebhookFields:
    """The fields of a new webhook."""
    fields: WebhookFields = {
        "contract": {"user_agent": "BulkSMS Invoker", **_invocation(entry.invoke_option or "ONE")},
        "signing_keys": (),  # the vendor signs nothing
    }
    return fields | _given_fields(entry, {"onWebApp": True})


def changed_fields(entry: WebhookEntry, webhook: WebhookView) -> WebhookFields:
    """The fields of a webhook that an entry changes."""
    fields = _given_fields(entry, webhook.dialect_fields)
    if entry.invoke_option is not None:
        fields["contract_changes"] = _invocation(entry.invoke_option)
    return fields


def _given_fields(entry: WebhookEntry, own: Mapping[str, Any]) -> WebhookFields:
    """The fields that an entry gives, except the contract. `own`: the dialect's own fields, where the entry gives
    none."""
    own = {**own, "triggerScope": entry.trigger_scope}
    if entry.on_web_app is not None:
        own["onWebApp"] = entry.on_web_app
    fields: WebhookFields = {
        "name": entry.name,
        "url": entry.url,
        "event_types": [EVENT_TYPES[entry.trigger_scope]],
        "dialect_fields": own,
    }
    if "contact_email_address" in entry.model_fields_set:
        fields["contact_email"] = entry.contact_email_address
    return fields


def _invocation(option: InvokeOption) -> dict[str, Any]:
    many = option == "MANY"
    return {"batch_size": MANY if many else 1, "retry_alone": many}


def check_outside_change(change: OutsideChange) -> None:
    """Raises InvalidWebhook for values that no webhook of this vendor can have."""
    if change.fields.get("name", "") is None:
        raise InvalidWebhook("name", "is required")
    contract = change.contract
    if contract is not None and contract.batch_size > MANY:
        raise InvalidWebhook("contract.batch_size", f"must be at most {MANY}")
    if contract is not None and contract.batch_size > 1 and not contract.retry_alone:
        raise InvalidWebhook("contract.retry_alone", "must be true if a request can carry several messages")


def document_of(webhook: WebhookView) -> WebhookDocument:
    """A webhook as shown in answers, with its URL in clear."""
    return WebhookDocument(
        id=webhook.number,
        name=webhook.name or "",
        url=webhook.url,
        trigger_scope=webhook.dialect_fields["triggerScope"],
        active=webhook.enabled,
        contact_email_address=webhook.contact_email,
        on_web_app=webhook.dialect_fields["onWebApp"],
    )
