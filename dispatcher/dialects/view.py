"""A webhook, and a change to it from outside, as a dialect reads them: plain values, without tables and encryption.
Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets


@dataclass(frozen=True, slots=True)
class WebhookView:
    """One webhook of an account. `url` is in clear, as given. `secrets` is empty if the vendor's answers show none, and
    masked for a caller who may only look."""

    id: UUID
    number: int
    name: str | None
    app: str | None
    enabled: bool
    event_types: Sequence[str]
    contact_email: str | None
    contract: DeliveryContract
    dialect_fields: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    url: str = field(repr=False)
    secrets: WebhookSecrets = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutsideChange:
    """What the native API or a command changes of a dialect's webhook; None: not changed. Its event types stay.
    `others` returns the event types of each of the account's other webhooks of the dialect with this URL, in any
    spelling."""

    fields: Mapping[str, Any]  # those that are stored as they are
    contract: DeliveryContract | None
    event_types: Sequence[str]
    others: Callable[[str], Sequence[Collection[str]]]
    url: str | None = field(repr=False)
