"""Checks the members of Sinch's webhook and converts them to our fields, and back. Pure."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from dispatcher.dialects.view import OutsideChange, WebhookView
from dispatcher.egress.urls import normalise_url
from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import Authorization, ClientCredentials, TokenRequest
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.fields import WebhookFields

MAX_PER_APP = 5
MAX_TARGET = 742
SIGNATURE_HEADER = "x-sinch-webhook-signature"

# The event types of each trigger. A trigger that is not listed has `conversation.<trigger in lower case>`.
_EVENT_TYPES = {
    "MESSAGE_INBOUND": ("message.inbound.received",),
    "MESSAGE_SUBMIT": ("message.outbound.accepted", "message.outbound.sent"),
    "MESSAGE_DELIVERY": tuple(f"message.outbound.{part}" for part in ("progress", "delivered", "failed", "bounced")),
    "SMART_CONVERSATION": ("conversation.smart_conversations",),
}
# The SDK for Node has SMART_CONVERSATIONS; those for Java and .NET have it without the last S.
TRIGGERS = (
    "MESSAGE_DELIVERY", "MESSAGE_SUBMIT", "MESSAGE_INBOUND", "EVENT_DELIVERY", "EVENT_INBOUND", "SMART_CONVERSATIONS",
    "SMART_CONVERSATION", "MESSAGE_INBOUND_SMART_CONVERSATION_REDACTION",
    "CONVERSATION_START", "CONVERSATION_STOP", "CONVERSATION_DELETE",
    "CONTACT_CREATE", "CONTACT_DELETE", "CONTACT_MERGE", "CONTACT_UPDATE", "CONTACT_IDENTITIES_DUPLICATION",
    "UNSUPPORTED", "OPT_IN", "OPT_OUT", "CHANNEL_EVENT", "CAPABILITY", "RECORD_NOTIFICATION",
)  # fmt: skip
TARGET_TYPES = ("HTTP", "DISMISS")
MEMBERS = ("app_id", "target", "target_type", "triggers", "secret", "client_credentials")
_CREDENTIAL_PATHS = {
    f"client_credentials.{name}": name
    for name in ("client_id", "client_secret", "endpoint", "scope", "response_type", "token_request_type")
}

_FORBIDDEN_HOST = re.compile(r"conversation-api\.(.+\.)?sinch\.com")


def read_webhook(document: Mapping[str, Any]) -> dict[str, Any]:
    """All members of a webhook, with defaults. Raises InvalidWebhook with the member's name."""
    return {name: _READERS[name](document.get(name)) for name in MEMBERS}


def read_changes(document: Mapping[str, Any], mask: Collection[str] | None) -> dict[str, Any]:
    """The members that an update changes as a whole: those in the mask, or without a mask, those in the document. A
    member that is only in the mask is reset. Raises InvalidWebhook with the member's name."""
    if mask is None:
        return {name: _READERS[name](document[name]) for name in MEMBERS if name in document}
    if not set(mask) <= {"id", *MEMBERS, *_CREDENTIAL_PATHS}:  # `id` is accepted, and cannot change
        raise InvalidWebhook("update_mask", "names a member that a webhook does not have")
    return {name: _READERS[name](document.get(name)) for name in MEMBERS if name in mask}


def read_masked_credentials(
    document: Mapping[str, Any], mask: Collection[str] | None, kept: Authorization | None
) -> dict[str, Any]:
    """The credentials, if the mask names only some of their members: the stored ones, with these members from the
    document. Empty for any other mask. Raises InvalidWebhook with the member's name."""
    named = [_CREDENTIAL_PATHS[path] for path in mask or () if path in _CREDENTIAL_PATHS]
    if not named or "client_credentials" in (mask or ()):
        return {}
    given = document.get("client_credentials")
    if not isinstance(given, Mapping | None):
        raise InvalidWebhook("client_credentials", "must be an object")
    merged = {name: value for name, value in (_write_credentials(kept) or {}).items() if name not in named}
    merged |= {name: given[name] for name in named if given is not None and name in given}
    return {"client_credentials": _credentials(merged)}


def read_mask(in_query: Collection[str], in_body: object) -> list[str] | None:
    """The members to update: a comma-separated list, from the query or, without one there, from the body."""
    texts = list(in_query) or ([in_body] if isinstance(in_body, str) else [])
    paths = [path.strip() for text in texts for path in text.split(",") if path.strip()]
    return paths or None


def new_fields(members: Mapping[str, Any]) -> WebhookFields:
    """The fields of a new webhook. The retry schedule is that of Sinch's SMS callbacks: for Conversation callbacks none
    is published."""
    contract: dict[str, Any] = {
        "envelope": "object",
        "schedule": "doubling",
        "rules": {429: {"verdict": Verdict.TEMPORARY, "honour_retry_after": True}},
        "nonce_signature": _signature(members["secret"]),
    }
    fields: WebhookFields = {"contract": contract, "signing_keys": ()}
    return fields | _fields(members, {})


def changed_fields(members: Mapping[str, Any], webhook: WebhookView) -> WebhookFields:
    """The fields of a webhook that the given members change."""
    if not webhook.enabled and members.get("target_type") == "DISMISS":
        # A disabled webhook is shown so. A client that sends back what it read must change nothing.
        members = {name: value for name, value in members.items() if name != "target_type"}
    fields = _fields(members, webhook.dialect_fields)
    if "secret" in members:
        fields["contract_changes"] = {"nonce_signature": _signature(members["secret"])}
    return fields


def enables(members: Mapping[str, Any]) -> bool | None:
    """True if the given members enable the webhook; None if they leave that unchanged."""
    return True if members.get("target_type") == "HTTP" else None


def _fields(members: Mapping[str, Any], kept: Mapping[str, Any]) -> WebhookFields:
    own = {**kept, **{name: members[name] for name in ("target_type", "triggers") if name in members}}
    fields: WebhookFields = {"dialect_fields": own, "event_types": event_types(own["triggers"], own["target_type"])}
    if "app_id" in members:
        fields["app"] = members["app_id"]
    if "target" in members:
        fields["url"] = members["target"]
    if "client_credentials" in members:
        fields["authorization"] = members["client_credentials"]
    if "secret" in members:
        fields["nonce_secret"] = members["secret"]
    return fields


def _signature(secret: str | None) -> dict[str, str] | None:
    return {"header": SIGNATURE_HEADER} if secret is not None else None


def event_types(triggers: Collection[str], target_type: str) -> list[str]:
    """The event types of a webhook with these triggers. One that dismisses takes nothing."""
    if target_type == "DISMISS":
        return []
    names: list[str] = []
    for trigger in triggers:
        names += _EVENT_TYPES.get(trigger, (f"conversation.{trigger.lower()}",))
    return list(dict.fromkeys(names))


def check_outside_change(change: OutsideChange) -> None:
    """Raises InvalidWebhook for values that no webhook of this vendor can have."""
    if change.url is not None:
        try:
            _target(change.url)
        except InvalidWebhook as error:
            raise InvalidWebhook("url", error.reason) from None


def write_webhook(webhook: WebhookView) -> dict[str, Any]:
    """A webhook with all seven members, because clients read each of them; those that are not set are as protobuf
    prints them. Secrets are as the view has them. A disabled one is shown as DISMISS: the vendor has no other word."""
    own = webhook.dialect_fields
    return {
        "app_id": webhook.app,
        "client_credentials": _write_credentials(webhook.secrets.authorization),
        "id": str(webhook.id),
        "secret": webhook.secrets.nonce_secret or "",
        "target": webhook.url,
        "target_type": own["target_type"] if webhook.enabled else "DISMISS",
        "triggers": own["triggers"],
    }


def _write_credentials(authorization: Authorization | None) -> dict[str, Any] | None:
    if not isinstance(authorization, ClientCredentials):
        return None
    given = {
        "client_id": authorization.client_id,
        "client_secret": authorization.client_secret,
        "endpoint": authorization.shown_endpoint,
        "scope": authorization.scope,
        "response_type": authorization.response_type,
    }
    document = {name: value for name, value in given.items() if value is not None}
    if authorization.token_request is TokenRequest.FORM:
        document["token_request_type"] = "FORM"  # noqa: S105 - not a password
    return document


def _app(value: object) -> str:
    app = _text("app_id", value, 255)
    if not app.isprintable():  # it is looked up before the core checks it
        raise InvalidWebhook("app_id", "must have 1 to 255 printable characters")
    return app


def _target(value: object) -> str:
    target = _text("target", value, MAX_TARGET)
    try:
        host = urlsplit(normalise_url(target)).hostname or ""
    except InvalidWebhook as error:
        raise InvalidWebhook("target", error.reason) from None
    if _FORBIDDEN_HOST.fullmatch(host):
        raise InvalidWebhook("target", "must not be an address of the Conversation API itself")
    return target


def _target_type(value: object) -> str:
    if value is None:
        return "HTTP"
    if value not in TARGET_TYPES:
        raise InvalidWebhook("target_type", "must be HTTP or DISMISS")
    return str(value)


def _triggers(value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise InvalidWebhook("triggers", "are required: a list of trigger names")
    if not all(isinstance(trigger, str) and trigger in TRIGGERS for trigger in value):
        raise InvalidWebhook("triggers", f"must each be one of: {', '.join(TRIGGERS)}")
    return list(dict.fromkeys(value))


def _secret(value: object) -> str | None:
    return None if _is_unset(value) else _text("secret", value, 1024)


def _credentials(value: object) -> ClientCredentials | None:
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        raise InvalidWebhook("client_credentials", "must be an object")
    kind = value.get("token_request_type") or "BASIC"
    if not isinstance(kind, str) or kind not in {"BASIC", "FORM"}:
        raise InvalidWebhook("client_credentials.token_request_type", "must be BASIC or FORM")
    return ClientCredentials(
        endpoint=_text("client_credentials.endpoint", value.get("endpoint"), 2048),
        client_id=_text("client_credentials.client_id", value.get("client_id"), 1024),
        client_secret=_text("client_credentials.client_secret", value.get("client_secret"), 4096),
        scope=_optional("client_credentials.scope", value.get("scope"), 1024),
        response_type=_optional("client_credentials.response_type", value.get("response_type"), 64),
        token_request=TokenRequest(kind.lower()),
    )


def _optional(name: str, value: object, most: int) -> str | None:
    return None if _is_unset(value) else _text(name, value, most)


def _text(name: str, value: object, most: int) -> str:
    if _is_unset(value):
        raise InvalidWebhook(name, "is required")
    if not isinstance(value, str):
        raise InvalidWebhook(name, "must be a string")
    if len(value) > most:
        raise InvalidWebhook(name, f"must have at most {most} characters")
    return value


def _is_unset(value: object) -> bool:
    return value is None or value == ""


_READERS: dict[str, Callable[[object], Any]] = {
    "app_id": _app,
    "target": _target,
    "target_type": _target_type,
    "triggers": _triggers,
    "secret": _secret,
    "client_credentials": _credentials,
}
