"""Deliveries and attempts as the API shows them."""

import base64
import codecs
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.api.explanation import Explanation, explanation_document
from dispatcher.deliveries.records import AttemptRecord, DeliveryRecord
from dispatcher.states import Reason, State
from dispatcher.transport.told import told
from dispatcher.webhooks.explanation.words import Sentence


class DeliveryDocument(BaseModel):
    """One event to deliver to one webhook."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    state: State
    reason: Annotated[Reason | None, Field(description="Why a discarded delivery was discarded.")]
    event_id: UUID
    event_type: Annotated[str | None, Field(description="Null once the event is no longer kept.")]
    subject: str | None
    webhook_id: UUID
    webhook_name: str | None
    webhook_url: Annotated[str, Field(description="Masked.")]
    attempt_count: int
    due_at: Annotated[datetime, Field(description="While the delivery is open: when its next attempt is due.")]
    give_up_at: Annotated[
        datetime, Field(description="When the delivery is discarded if it is still open and not being attempted.")
    ]
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
    created_at: Annotated[datetime, Field(description="When the event was received.")]
    expires_at: datetime | None
    delivery_count: Annotated[int, Field(description="How many webhooks take the event.")]
    traceparent: Annotated[str | None, Field(description="Its place in a trace, if it was sent with one.")]
    erased: Annotated[bool, Field(description="Its message and its subject were erased for good.")]


class HeaderLine(BaseModel):
    """One header."""

    name: str
    value: str


class RequestDocument(BaseModel):
    """The request that was sent; secrets are masked."""

    id: UUID
    method: str
    url: str
    headers: list[HeaderLine]
    started_at: datetime
    duration_ms: Annotated[float, Field(description="Until the end of the answer, or until the failure.")]


class AnswerDocument(BaseModel):
    """The answer as captured. Its body is in either `text` or `base64`; in neither, and without headers, once it is no
    longer kept."""

    status: int
    headers: list[HeaderLine]
    text: Annotated[str | None, Field(description="The beginning of the body, if it is UTF-8 text.")]
    base64: Annotated[str | None, Field(description="The beginning of the body, if it is not.")]
    is_cut: Annotated[bool, Field(description="The headers or the body were longer than what is kept.")]
    is_unreadable: Annotated[bool, Field(description="The body's content encoding could not be decoded.")]


class FailureDocument(BaseModel):
    """Why there is no answer. Only an operator's key is told whether a name is not in DNS (`dns`) or leads to an
    address that may not be called; for others both are `address_refused`."""

    kind: str
    detail: str | None


class RefusedRequestDocument(BaseModel):
    """A request whose token the receiver refused (401): another token was fetched, and `request` sent."""

    request: RequestDocument
    answer: AnswerDocument


class AttemptDocument(BaseModel):
    """One attempt. Either `answer` or `failure` says how the request ended."""

    number: int
    recorded_at: datetime
    verdict: str | None
    outcome_unknown: Annotated[bool, Field(description="The worker died before it recorded the outcome.")]
    request: Annotated[
        RequestDocument | None, Field(description="Null if the outcome is unknown, or once it is no longer kept.")
    ]
    answer: AnswerDocument | None
    failure: FailureDocument | None
    refused: Annotated[
        RefusedRequestDocument | None, Field(description="The request before it in the same attempt, if there was one.")
    ]


class DeliveryRecordDocument(DeliveryDocument):
    """A delivery with its event, its attempts and an explanation."""

    account: str
    event: Annotated[EventDocument | None, Field(description="Null once it is no longer kept.")]
    attempts: Annotated[list[AttemptDocument], Field(description="Oldest first; up to 100.")]
    attempts_next: Annotated[
        int | None, Field(description="`attempts_before` of the attempts before these; null if there are none.")
    ]
    explanation: Explanation


def delivery_record_document(
    account: str, record: DeliveryRecord, sentences: Iterable[Sentence], *, exact: bool
) -> DeliveryRecordDocument:
    """The delivery with its event, attempts and explanation. `exact`: with failures as operators see them."""
    return DeliveryRecordDocument(
        **DeliveryDocument.model_validate(record.delivery).model_dump(),
        account=account,
        event=EventDocument.model_validate(record.event) if record.event is not None else None,
        attempts=[_attempt(attempt, exact=exact) for attempt in record.attempts],
        attempts_next=record.before,
        explanation=explanation_document(sentences),
    )


def _attempt(record: AttemptRecord, *, exact: bool) -> AttemptDocument:
    failure, detail = told(record.failure, record.failure_detail, exact=exact)
    return AttemptDocument(
        number=record.number,
        recorded_at=record.created_at,
        verdict=record.verdict,
        outcome_unknown=record.outcome_unknown,
        request=_request(record),
        answer=_answer(record),
        failure=FailureDocument(kind=failure, detail=detail) if failure else None,
        refused=_refused(record.refused) if record.refused is not None else None,
    )


def _refused(record: AttemptRecord) -> RefusedRequestDocument:
    request, answer = _request(record), _answer(record)
    assert request is not None
    assert answer is not None
    return RefusedRequestDocument(request=request, answer=answer)


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
    excerpt = record.answer_excerpt
    text = _as_text(excerpt, cut=bool(record.answer_cut)) if excerpt is not None else None
    return AnswerDocument(
        status=record.status,
        headers=_lines(record.answer_headers),
        text=text,
        base64=base64.b64encode(excerpt).decode() if excerpt is not None and text is None else None,
        is_cut=bool(record.answer_cut),
        is_unreadable=bool(record.answer_unreadable),
    )


def _as_text(excerpt: bytes, *, cut: bool) -> str | None:
    """The excerpt as text; None if it is not UTF-8 text. A character that was cut in the middle is left out."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(excerpt, final=not cut)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _lines(headers: str | None) -> list[HeaderLine]:
    parts = (line.partition(": ") for line in (headers or "").split("\n") if line)
    return [HeaderLine(name=name, value=value) for name, _, value in parts]
