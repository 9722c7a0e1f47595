"""Events, with and without their deliveries, and receipts, as the API shows them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.api.deliveries.documents import DeliveryDocument, EventDocument
from dispatcher.api.explanation import Explanation
from dispatcher.event_types import MAX_NEAREST
from dispatcher.web.problems import FieldError


class AcceptedEvent(BaseModel):
    """The event is stored."""

    model_config = ConfigDict(from_attributes=True)

    event_id: UUID
    deliveries: Annotated[int, Field(description="How many webhooks will get it.")]
    repeated: Annotated[bool, Field(description="Its idempotency key was used before; nothing new was stored.")]
    nearest_types: Annotated[
        list[str],
        Field(
            max_length=MAX_NEAREST,
            description="For a new event with 0 deliveries: similarly spelt types that webhooks of its account and app "
            "take, or if there are none, similarly spelt message types. Empty if nothing is similar, or if there is no "
            "webhook. If many events are sent together, only those of the first 5 types have it.",
        ),
    ]


class AcceptedItem(AcceptedEvent):
    """One of several events: it is stored."""

    status: Literal["accepted"] = "accepted"


class RefusedItem(BaseModel):
    """One of several events: it is not stored."""

    status: Literal["refused"] = "refused"
    errors: list[FieldError]


class Outcomes(BaseModel):
    """The receipts of several events: one item for each, in order."""

    accepted: int
    refused: int
    items: list[Annotated[AcceptedItem | RefusedItem, Field(discriminator="status")]]


class EventRecordDocument(EventDocument):
    """An event with its deliveries and an explanation."""

    account: str
    deliveries: list[DeliveryDocument]
    deliveries_next: Annotated[
        str | None, Field(description="`deliveries_before` of the next deliveries; null if there are none.")
    ]
    explanation: Explanation


class WholeEventDocument(EventRecordDocument):
    """An event with its deliveries and its message."""

    data: Annotated[object, Field(description="The message, byte for byte as it was sent; null once erased.")]
