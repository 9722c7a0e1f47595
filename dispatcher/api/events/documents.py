"""Events, and what became of taking them in, as the API tells of them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class AcceptedEvent(BaseModel):
    """The event is stored."""

    event_id: UUID
    deliveries: Annotated[int, Field(description="How many webhooks will get it.")]
    repeated: Annotated[bool, Field(description="Its idempotency key was known; nothing new was stored.")]


class AcceptedItem(AcceptedEvent):
    """One of many: it is stored."""

    status: Literal["accepted"] = "accepted"


class FieldError(BaseModel):
    """A field and why it is refused."""

    field: str
    reason: str


class RefusedItem(BaseModel):
    """One of many: it is left out."""

    status: Literal["refused"] = "refused"
    errors: list[FieldError]


class Outcomes(BaseModel):
    """What became of many events: an item for each, in order."""

    accepted: int
    refused: int
    items: list[Annotated[AcceptedItem | RefusedItem, Field(discriminator="status")]]


class EventDocument(BaseModel):
    """An event without its message."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    type: str
    app: str | None
    subject: str | None
    occurred_at: datetime
    created_at: Annotated[datetime, Field(description="When it came in.")]
    expires_at: datetime | None
    delivery_count: Annotated[int, Field(description="How many webhooks took it.")]
