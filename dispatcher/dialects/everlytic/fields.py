"""Converts Everlytic's payload to a webhook's fields, and a webhook to Everlytic's answer. Pure.

The error texts are the published ones, and are combined as published. Texts for other cases follow their pattern.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dispatcher.dialects.bodies import json_object
from dispatcher.dialects.view import WebhookView
from dispatcher.errors import DispatcherError
from dispatcher.receiver_auth.credentials import Authorization, Basic
from dispatcher.webhooks.contract import Envelope, Method
from dispatcher.webhooks.fields import WebhookFields

EVENT_TYPES = {
    "sent": "message.outbound.sent",
    "failed": "message.outbound.failed",
    "bounce": "message.outbound.bounced",
    "reply": "message.inbound.received",
    "delivered": "message.outbound.delivered",
}
_NAMES = {event_type: name for name, event_type in EVENT_TYPES.items()}
_VERBS = (Method.POST, Method.GET)
_STATUSES = ("enabled", "disabled")
_CONTRACT = {"envelope": Envelope.OBJECT.value}


class PayloadRefused(DispatcherError):
    """A refused payload. `text` is Everlytic's text for it: a sentence, and JSON of field -> texts."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__("the payload is not in the correct format")
        self.text = (
            "The payload for the webhook is not in the correct format. "
            f"{json.dumps({name: list(texts) for name, texts in errors.items()}, separators=(',', ':'))}"
        )


def read_payload(body: bytes, kept: WebhookView | None) -> WebhookFields:
    """Reads the payload of a change to the webhook `kept`, or of a new webhook (None). Members that are left out or
    null stay unchanged, except that an `auth_type` of null removes the authorization. Raises PayloadRefused with all
    errors."""
    given = (json_object(body) or {}).get("webhook")
    if not given:
        raise PayloadRefused({"webhook": ["The webhook field is required."]})
    if not isinstance(given, dict):
        raise PayloadRefused({"webhook": ["validation.array"]})
    reader = _Reader(given)
    fields: WebhookFields = {} if kept else {"signing_keys": []}  # the vendor signs nothing
    types = reader.event_types(required=kept is None)
    if types is not None:
        fields["event_types"] = types
    url = reader.text("url", required=kept is None)
    if url is not None:
        fields["url"] = url
    # Only this rule fits all published examples: a change without a verb is accepted, unless it changes the URL.
    verb = reader.choice("verb", _VERBS, required=kept is None or reader.has("url"), upper=True)
    if verb is not None and kept is None:
        fields["contract"] = {**_CONTRACT, "method": verb}
    elif verb is not None:
        fields["contract_changes"] = {"method": verb}
    fields |= reader.authorization(kept.secrets.authorization if kept else None)
    reader.choice("status", _STATUSES)
    if reader.errors:
        raise PayloadRefused(reader.errors)
    return fields


def read_enabled(body: bytes) -> bool | None:
    """Whether a valid payload enables or disables the webhook; None if it does neither."""
    given = (json_object(body) or {}).get("webhook")
    status = given.get("status") if isinstance(given, dict) else None
    return status == "enabled" if status in _STATUSES else None


def refusal(name: str, reason: str) -> PayloadRefused:
    """An error that the engine itself found, in the same form."""
    return PayloadRefused({f"webhook.{name}": [f"The webhook.{_words(name)} {reason}."]})


def shown(webhook: WebhookView) -> dict[str, Any]:
    """A webhook as shown in answers, with its credentials as the view has them."""
    authorization = webhook.secrets.authorization
    basic = authorization if isinstance(authorization, Basic) else None
    return {
        "id": str(webhook.id),
        "url": webhook.url,
        "verb": webhook.contract.method.lower(),
        "auth_details": {"username": basic.username, "password": basic.password} if basic else None,
        "auth_type": "basic" if basic else None,
        "status": "enabled" if webhook.enabled else "disabled",
        "updated_timestamp": _timestamp(webhook.updated_at),
        "created_timestamp": _timestamp(webhook.created_at),
        "event_types": [_NAMES[event_type] for event_type in webhook.event_types if event_type in _NAMES],
    }


class _Reader:
    """Reads the members one by one, in the order of the published table, and collects their errors."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.errors: dict[str, list[str]] = {}

    def has(self, name: str) -> bool:
        return self._given.get(name) is not None

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self._given.get(name)
        if required and (value is None or value == ""):
            self._refuse(name, _required(name))
        elif value is not None and not isinstance(value, str):
            self._refuse(name, "validation.string")
        else:
            return value
        return None

    def choice(self, name: str, choices: Sequence[str], *, required: bool = False, upper: bool = False) -> str | None:
        value = self.text(name, required=required)
        if value is None:
            return None
        if upper:
            value = value.upper()
        if value in choices:
            return value
        self._refuse(name, _not_one_of(name, choices))
        return None

    def event_types(self, *, required: bool) -> list[str] | None:
        names = self._given.get("event_types")
        if names is None and not required:
            return None
        if not names and (names is None or isinstance(names, list)):
            self._refuse("event_types", _required("event_types"))
        elif not isinstance(names, list):
            self._refuse("event_types", "validation.array")
        else:
            # As in the published example, an unknown one is ignored if there is a known one.
            known = [
                EVENT_TYPES[low] for name in names if isinstance(name, str) and (low := name.lower()) in EVENT_TYPES
            ]
            if known:
                return known
            self._refuse("event_types", _not_one_of("event_types", list(EVENT_TYPES)))
        return None

    def authorization(self, kept: Authorization | None) -> WebhookFields:
        details = self._given.get("auth_details")
        if isinstance(details, list):
            details = dict(enumerate(details))  # to the vendor, both are arrays
        if details is not None and not isinstance(details, dict):
            self._refuse("auth_details", "validation.array")
            return {}
        kind = self.choice("auth_type", ("basic",))
        if kind is None and not (details and isinstance(kept, Basic) and "auth_type" not in self._given):
            if details and not self.has("auth_type"):
                self._refuse(
                    "auth_type", "The webhook.auth type field is required when webhook.auth details is present."
                )
            return {"authorization": None} if "auth_type" in self._given else {}
        if not details:
            self._refuse("auth_details", _required_for_basic("auth_details"))
            return {}
        username, password = (self._detail(details, name) for name in ("username", "password"))
        return {"authorization": Basic(username, password)}

    def _detail(self, details: Mapping[str, Any], name: str) -> str:
        value = details.get(name)
        if value is None or value == "":
            self._refuse(f"auth_details.{name}", _required_for_basic(f"auth_details.{name}"))
        elif not isinstance(value, str):
            self._refuse(f"auth_details.{name}", "validation.string")
        else:
            return value
        return ""

    def _refuse(self, name: str, text: str) -> None:
        self.errors[f"webhook.{name}"] = [text]


def _required(name: str) -> str:
    return f"The webhook.{_words(name)} field is required."


def _required_for_basic(name: str) -> str:
    return f"The webhook.{_words(name)} field is required when webhook.auth type is basic."


def _not_one_of(name: str, choices: Sequence[str]) -> str:
    words, *most, last = _words(name), *choices
    listed = f"{', '.join(most)} or {last}" if most else last
    return f"The selected webhook.{words} is invalid, {words} should only be {listed}."


def _words(name: str) -> str:
    """The name as texts contain it: without underscores."""
    return name.replace("_", " ")


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
