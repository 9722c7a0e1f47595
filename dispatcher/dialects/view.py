"""A webhook as a dialect reads it: plain values, apart from tables and encryption. Pure."""

from collections.abc import Mapping, Sequence
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
