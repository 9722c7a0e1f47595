"""A webhook, and a change of it that comes another way, as a dialect reads them: plain values, apart from tables and
encryption. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets


@dataclass(frozen=True, slots=True)
class WebhookView:
    """One webhook of an account. `url` is in clear, as it was given. `secrets` are empty where the vendor's answers
    show none."""

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
    """What the native API or a command makes of a dialect's webhook, where it says so. Its event types stay. `others`
    gives the event types of each of the account's other webhooks of the dialect with this URL, in any spelling."""

    fields: Mapping[str, Any]  # such as are kept in the form they have
    contract: DeliveryContract | None
    event_types: Sequence[str]
    others: Callable[[str], Sequence[Collection[str]]]
    url: str | None = field(repr=False)
