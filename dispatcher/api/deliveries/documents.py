"""Deliveries and attempts as the API tells of them."""

import base64
import codecs
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.deliveries.records import AttemptRecord, DeliveryRecord
from dispatcher.states import Reason, State


class DeliveryDocument(BaseModel):
    """One event owed to one webhook."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    state: State
    reason: Annotated[Reason | None, Field(description="Of a discarded one: why.")]
    event_id: UUID
    event_type: Annotated[str | None, Field(description="Null where the event is no longer kept.")]
    subject: str | None
    webhook_id: UUID
    webhook_name: str | None
    webhook_url: Annotated[str, Field(description="Masked.")]
    attempt_count: int
    due_at: Annotated[datetime, Field(description="While it is open: when its next attempt is due.")]
    give_up_at: Annotated[datetime, Field(description="When one that cannot be attempted ends.")]
    created_at: datetime
    finished_at: datetime | None


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


class HeaderLine(BaseModel):
    """One header."""

    name: str
    value: str


class RequestDocument(BaseModel):
    """What was sent; secrets are masked."""

    id: UUID
    method: str
    url: str
    headers: list[HeaderLine]
    started_at: datetime
    duration_ms: Annotated[float, Field(description="To the answer's end, or to the failure.")]


class AnswerDocument(BaseModel):
    """What came back, as it was captured. The body is in one of `text` and `base64`."""

    status: int
    headers: list[HeaderLine]
    text: Annotated[str | None, Field(description="The beginning of the body, where it is text in UTF-8.")]
    base64: Annotated[str | None, Field(description="The beginning of the body, where it is not.")]
    is_cut: Annotated[bool, Field(description="Headers or body were longer than what is kept.")]
    is_unreadable: Annotated[bool, Field(description="The body's content encoding could not be decoded.")]


class FailureDocument(BaseModel):
    """Why there is no answer."""

    kind: str
    detail: str | None


class AttemptDocument(BaseModel):
    """One try. Either `answer` or `failure` says how the request ended."""

    number: int
    recorded_at: datetime
    verdict: str | None
    outcome_unknown: Annotated[bool, Field(description="The worker did not live to record it: there is no request.")]
    request: RequestDocument | None
    answer: AnswerDocument | None
    failure: FailureDocument | None


class DeliveryRecordDocument(DeliveryDocument):
    """All there is to know about a delivery."""

    account: str
    event: Annotated[EventDocument | None, Field(description="Null where it is no longer kept.")]
    attempts: list[AttemptDocument]


def delivery_record_document(account: str, record: DeliveryRecord) -> DeliveryRecordDocument:
    """The delivery with its event and attempts."""
    return DeliveryRecordDocument(
        **DeliveryDocument.model_validate(record.delivery).model_dump(),
        account=account,
        event=EventDocument.model_validate(record.event) if record.event is not None else None,
        attempts=list(map(_attempt, record.attempts)),
    )


def _attempt(record: AttemptRecord) -> AttemptDocument:
    return AttemptDocument(
        number=record.number,
        recorded_at=record.created_at,
        verdict=record.verdict,
        outcome_unknown=record.outcome_unknown,
        request=_request(record),
        answer=_answer(record),
        failure=FailureDocument(kind=record.failure, detail=record.failure_detail) if record.failure else None,
    )


def _request(record: AttemptRecord) -> RequestDocument | None:
    if record.method is None:
        return None
    assert record.request_id is not None
    assert record.url is not None
    assert record.started_at is not None
    assert record.duration is not None
    return RequestDocument(
        id=record.request_id,
        method=record.method,
        url=record.url,
        headers=_lines(record.headers),
        started_at=record.started_at,
        duration_ms=round(record.duration.total_seconds() * 1000, 1),
    )


def _answer(record: AttemptRecord) -> AnswerDocument | None:
    if record.status is None:
        return None
    excerpt = record.answer_excerpt or b""
    text = _as_text(excerpt, cut=bool(record.answer_cut))
    return AnswerDocument(
        status=record.status,
        headers=_lines(record.answer_headers),
        text=text,
        base64=base64.b64encode(excerpt).decode() if text is None else None,
        is_cut=bool(record.answer_cut),
        is_unreadable=bool(record.answer_unreadable),
    )


def _as_text(excerpt: bytes, *, cut: bool) -> str | None:
    """Where it was cut within a character, that one is left out."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(excerpt, final=not cut)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _lines(headers: str | None) -> list[HeaderLine]:
    parts = (line.partition(": ") for line in (headers or "").split("\n") if line)
    return [HeaderLine(name=name, value=value) for name, _, value in parts]
