"""Events, alone and with their deliveries, and what became of taking them in, as the API tells of them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from dispatcher.api.deliveries.documents import DeliveryDocument, EventDocument


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


class EventRecordDocument(EventDocument):
    """All there is to know about an event."""

    account: str
    deliveries: list[DeliveryDocument]


class WholeEventDocument(EventRecordDocument):
    """An event with its message."""

    data: Annotated[object, Field(description="The message, byte for byte as it was given.")]
