"""A webhook's events in flexEngage's log, which are our deliveries. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeAlias, assert_never
from uuid import UUID

from pydantic import BaseModel, Field

from dispatcher.deliveries.records import AttemptRecord, DeliveryLine, DeliveryRecord, LoggedDelivery
from dispatcher.dialects.flexengage.times import whole_seconds
from dispatcher.ids import time_of
from dispatcher.states import State
from dispatcher.webhooks.contract import Verdict

Headers: TypeAlias = dict[str, str]


class Status(StrEnum):
    """The status of an event or an attempt."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class Event(BaseModel):
    """An event that was sent to the webhook, or will be. Times are UTC, in whole seconds."""

    id: Annotated[UUID, Field(description="The `id` in the body that the endpoint gets.")]
    type: Annotated[str | None, Field(description="Null once the event itself is no longer kept.")]
    created: datetime
    updated: datetime
    status: Status


class Page(BaseModel):
    """The position of a page of events."""

    size: int
    startId: UUID | None  # noqa: N815 - the vendor's names here and below
    lastId: Annotated[  # noqa: N815
        UUID | None, Field(description="Pass it as `startId` for the next page; null on the last one.")
    ]


class EventsPage(BaseModel):
    """Events of a webhook, oldest first."""

    events: list[Event]
    page: Page


class SentRequest(BaseModel):
    """The request that was sent. Secrets in the endpoint and in headers are masked."""

    endpoint: str
    headers: Headers


class GotResponse(BaseModel):
    """The endpoint's answer: `body` is its first 4 KiB, `time` is in milliseconds."""

    statusCode: int  # noqa: N815
    headers: Headers
    body: str
    time: int


class EventAttempt(BaseModel):
    """One attempt to send an event. Without an answer there is no `response`."""

    id: Annotated[UUID, Field(description="The `attemptId` in the body that the endpoint gets.")]
    created: datetime
    status: Status
    request: SentRequest
    response: Annotated[GotResponse | None, Field(exclude_if=lambda response: response is None)] = None


class EventWithAttempts(Event):
    """An event with its last 100 attempts, oldest first."""

    attempts: list[EventAttempt]


def shown_event(logged: LoggedDelivery) -> Event:
    """One line of the log."""
    line = logged.delivery
    return Event(
        id=line.event_id,
        type=line.event_type,
        created=whole_seconds(time_of(line.event_id)),
        updated=whole_seconds(logged.updated_at),
        status=_status(line.state),
    )


def shown_record(record: DeliveryRecord) -> EventWithAttempts:
    """One event with its attempts."""
    line = record.delivery
    last = record.attempts[-1].created_at if record.attempts else line.created_at
    event = shown_event(LoggedDelivery(line, line.finished_at or last))
    attempts = [_attempt(attempt, line) for attempt in record.attempts]
    return EventWithAttempts(**event.model_dump(), attempts=attempts)


def _status(state: State) -> Status:
    match state:
        case State.READY | State.CLAIMED | State.WAITING:
            return Status.PENDING
        case State.DELIVERED:
            return Status.SUCCESS
        case State.DISCARDED | State.CANCELLED:
            return Status.FAILED
        case _:
            assert_never(state)


def _attempt(attempt: AttemptRecord, line: DeliveryLine) -> EventAttempt:
    response = None
    if attempt.status is not None:
        response = GotResponse(
            statusCode=attempt.status,
            headers=_headers(attempt.answer_headers),
            body=(attempt.answer_excerpt or b"").decode(errors="replace"),
            time=round((attempt.duration or timedelta()) / timedelta(milliseconds=1)),
        )
    return EventAttempt(
        id=attempt.id,
        created=whole_seconds(attempt.started_at or attempt.created_at),
        status=Status.SUCCESS if attempt.verdict == Verdict.ACKNOWLEDGED else Status.FAILED,
        # If the worker died during the attempt, only the receiver is known.
        request=SentRequest(endpoint=attempt.url or line.webhook_url, headers=_headers(attempt.headers)),
        response=response,
    )


def _headers(lines: str | None) -> Headers:
    """Lines of `Name: value` as an object. Values of a repeated name are joined by commas, as HTTP allows."""
    headers: Headers = {}
    for line in (lines or "").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers
