"""Reads flexEngage's webhook from a request into the engine's fields. Pure."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from dispatcher.dialects.bodies import json_object
from dispatcher.dialects.view import OutsideChange
from dispatcher.errors import InvalidWebhook, WrongState
from dispatcher.web.problems import invalid
from dispatcher.webhooks.contract import DeliveryContract, Envelope, Member, write_contract
from schedules.catalog import HOUR

CONTRACT = write_contract(
    DeliveryContract(
        envelope=Envelope.OBJECT,
        members=(
            ("id", Member.EVENT_ID),
            ("brandId", Member.ACCOUNT),
            ("webhookId", Member.WEBHOOK_ID),
            ("attemptId", Member.ATTEMPT_ID),
            ("created", Member.CREATED_AT),
            ("type", Member.EVENT_TYPE),
            ("data", Member.DATA),
        ),
        user_agent="FlexEngage Webhook",
        schedule=HOUR.name,
        https_only=True,
    )
)
_SWITCH = "true or false"
_HTTPS = "https://"


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """The webhook that a request asks for."""

    endpoint: str
    events: list[str]
    enabled: bool

    @property
    def conflict(self) -> str:
        """The vendor's text if there is such a webhook already."""
        events = json.dumps(self.events, separators=(",", ":"))
        return f"A webhook for endpoint: {self.endpoint} and eventTypes: {events} already exists"


def read_new_webhook(body: bytes) -> NewWebhook:
    """The webhook in a request's body. Raises Problem 422 with all errors, also for an empty body."""
    given, errors = _members(body), []
    endpoint, events, enabled = given.get("endpoint"), given.get("events"), given.get("enabled")
    if not isinstance(endpoint, str) or not endpoint.lower().startswith(_HTTPS):
        errors.append(_refused("endpoint", endpoint, "an HTTPS URL"))
    if not isinstance(events, list) or not events or not all(isinstance(name, str) for name in events):
        errors.append(_refused("events", events, "a list of event types"))
    if not isinstance(enabled, bool | None):
        errors.append(_refused("enabled", enabled, _SWITCH))
    if errors:
        raise invalid(*errors)
    return NewWebhook(str(endpoint), list(events or ()), enabled is not False)


def is_taken(events: Collection[str], others: Iterable[Collection[str]]) -> bool:
    """Whether another webhook of the same endpoint takes the same types. The order of types and repeated types do not
    matter."""
    return any(set(types) == set(events) for types in others)


def check_outside_change(change: OutsideChange) -> None:
    """Raises InvalidWebhook for values that no webhook of this vendor can have, and WrongState if there is an equal
    one."""
    if change.url is None:
        return
    if not change.url.lower().startswith(_HTTPS):
        raise InvalidWebhook("url", f"must begin with {_HTTPS}")
    if is_taken(change.event_types, change.others(change.url)):
        raise WrongState(
            "the dialect flexengage allows only one webhook for a URL and a set of event types, and the account has "
            "one already: change or delete the other one first"
        )


def read_enabled(body: bytes) -> bool:
    """`enabled` in a request's body: only this can be changed. Raises Problem 422."""
    enabled = _members(body).get("enabled")
    if not isinstance(enabled, bool):
        raise invalid(_refused("enabled", enabled, _SWITCH))
    return enabled


def _members(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}  # the vendor's own samples send no body
    members = json_object(body)
    if members is None:
        raise invalid(("body", "must be a JSON object"))
    return members


def _refused(name: str, value: object, wanted: str) -> tuple[str, str]:
    return name, "is required" if value in (None, "", []) else f"must be {wanted}"
