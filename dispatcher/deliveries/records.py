"""Events, deliveries and attempts as `history`, the command line and the API show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dispatcher.states import Reason, State


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event without its data."""

    id: UUID
    app: str | None
    type: str
    subject: str | None
    occurred_at: datetime
    expires_at: datetime | None
    created_at: datetime
    delivery_count: int  # how many webhooks matched when it was stored
    traceparent: str | None
    erased: bool  # its message and subject are gone for good


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some of an account's events, newest first; `before` asks for older ones (None: there are none)."""

    events: Sequence[EventLine]
    before: UUID | None


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """A delivery with what is needed to recognise its event and webhook."""

    id: UUID
    event_id: UUID
    event_type: str | None  # None where the event is no longer kept
    subject: str | None
    webhook_id: UUID
    webhook_name: str | None
    webhook_url: str  # masked, as are all URLs here
    state: State
    reason: Reason | None
    attempt_count: int
    due_at: datetime
    give_up_at: datetime
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, newest first; `before` asks for older ones (None: there are none)."""

    deliveries: Sequence[DeliveryLine]
    before: UUID | None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt with its request and the answer as captured. An unknown outcome has no request: the worker died."""

    id: UUID
    number: int
    created_at: datetime
    verdict: str | None
    outcome_unknown: bool
    request_id: UUID | None
    method: str | None
    url: str | None  # masked
    headers: str | None  # masked, one `Name: value` a line
    status: int | None
    failure: str | None
    failure_detail: str | None
    answer_headers: str | None
    answer_excerpt: bytes | None
    answer_cut: bool | None
    answer_unreadable: bool | None
    started_at: datetime | None
    duration: timedelta | None
    # Of the request before it in the same attempt, if there was one: the receiver refused its token.
    refused: "AttemptRecord | None" = None

    @property
    def of_batch(self) -> bool:
        """Whether its request carried other messages, too."""
        return "\nDispatcher-Batch-Size: " in f"\n{self.headers}"


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """Everything that is known about one delivery."""

    delivery: DeliveryLine
    event: EventLine | None
    data: bytes | None  # the event's; None once it was erased
    attempts: Sequence[AttemptRecord]  # some of them, oldest first
    before: int | None  # asks for earlier ones (None: there are none)


@dataclass(frozen=True, slots=True)
class LoggedDelivery:
    """A delivery in its webhook's log, and when it last changed: when it ended, was last attempted, or began."""

    delivery: DeliveryLine
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Everything that is known about one event; `data` is as the producer gave it and as it is sent (None: erased)."""

    event: EventLine
    data: bytes | None
    page: DeliveryPage
