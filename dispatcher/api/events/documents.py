"""Events, alone and with their deliveries, and what became of taking them in, as the API tells of them."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from dispatcher.api.deliveries.documents import DeliveryDocument, EventDocument
from dispatcher.event_types import MAX_NEAREST
from dispatcher.events.event import Accepted


class AcceptedEvent(BaseModel):
    """The event is stored."""

    event_id: UUID
    deliveries: Annotated[int, Field(description="How many webhooks will get it.")]
    repeated: Annotated[bool, Field(description="Its idempotency key was known; nothing new was stored.")]
    nearest_types: Annotated[
        list[str],
        Field(
            max_length=MAX_NEAREST,
            description="For a new event with 0 deliveries: what webhooks of its account and app take that is spelt "
            "alike, else message types that are. Empty where nothing is alike, or there is no webhook. Of many events, "
            "those of the first 20 types have it.",
        ),
    ]


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


def accepted_members(receipt: Accepted) -> dict[str, Any]:
    """The members of `AcceptedEvent`."""
    return {
        "event_id": receipt.event_id,
        "deliveries": receipt.deliveries,
        "repeated": receipt.repeated,
        "nearest_types": list(receipt.nearest_types),
    }
