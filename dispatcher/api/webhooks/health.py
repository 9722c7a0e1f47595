"""`/v1/webhooks/{id}/health`: webhook health."""

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dispatcher.api.explanation import Explanation, explanation_document
from dispatcher.api.webhooks.access import WebhookId
from dispatcher.states import State
from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.told import told
from dispatcher.web.authentication import Reader
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served
from dispatcher.webhooks.explanation.reading import explain_health
from dispatcher.webhooks.explanation.words import Sentence
from dispatcher.webhooks.health import COUNTED, Health, LastAnswer, health_of, shown_circuit
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import Webhooks

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


class CircuitDocument(BaseModel):
    """The circuit breaker. While the webhook keeps failing it is open: deliveries wait behind one trial request at a
    time."""

    state: Literal["open", "closed"]
    failures_in_a_row: Annotated[int, Field(description="How many of the last requests failed temporarily, in a row.")]
    failing_since: datetime | None
    opened_at: datetime | None
    next_trial_at: datetime | None


class RecentDeliveries(BaseModel):
    """The deliveries created in the last 24 hours, by state."""

    since: datetime
    counts: dict[State, int]
    complete: Annotated[bool, Field(description=f"False: only the newest {COUNTED:,} are counted.")]


class LastAnswerDocument(BaseModel):
    """The result of its last request: either a status or a failure."""

    request_id: UUID
    at: datetime
    status: int | None
    failure: FailureKind | None
    failure_detail: str | None
    duration_ms: float


class DueDocument(BaseModel):
    """The delivery that has been due longest and is not claimed yet, because of an open circuit, a limit or a
    backlog."""

    delivery_id: UUID
    due_at: datetime


class OpenDocument(BaseModel):
    """The deliveries that are ready or wait for a retry, however old."""

    count: int
    complete: Annotated[bool, Field(description=f"False: there are more than {COUNTED:,}.")]


class HealthDocument(BaseModel):
    """The health of a webhook."""

    enabled: bool
    deleted_at: Annotated[
        datetime | None, Field(description="Set for a deleted webhook; `open` is then what is left to discard.")
    ]
    quarantined_at: Annotated[
        datetime | None, Field(description="Since when workers have put it aside, because they cannot read it.")
    ]
    quarantined_reason: str | None
    unreadable: Annotated[
        str | None,
        Field(description="Why this version cannot read it: it is damaged, or waits for workers of a newer version."),
    ]
    circuit: CircuitDocument
    deliveries: RecentDeliveries
    open: OpenDocument
    last_answer: LastAnswerDocument | None
    oldest_due: DueDocument | None
    explanation: Explanation


@router.get(
    "/{webhook_id}/health",
    operation_id="get_webhook_health",
    summary="Webhook health: circuit, deliveries of the last 24 hours, open ones, last answer",
    description="The call is cheap even for a busy webhook: of very many deliveries, only the newest are counted. Of a "
    "deleted webhook it shows how many open deliveries are left to discard.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_health(caller: Reader, installation: Served, webhook_id: WebhookId) -> HealthDocument:
    with installation.transaction() as session:
        registered = Webhooks(session, installation).read(caller.account_id, webhook_id, deleted=True)
        health = health_of(session, registered.webhook, read=registered)
        exact = caller.sees_all
        sentences = explain_health(session, installation, webhook_id, health, registered.unreadable, exact=exact)
        return _document(health, registered, sentences, exact=exact)


def _document(health: Health, registered: Registered, sentences: Iterable[Sentence], *, exact: bool) -> HealthDocument:
    webhook, due = registered.webhook, health.oldest_due
    return HealthDocument(
        enabled=webhook.enabled,
        deleted_at=webhook.deleted_at,
        quarantined_at=webhook.quarantined_at,
        quarantined_reason=webhook.quarantined_reason,
        unreadable=registered.unreadable,
        circuit=CircuitDocument(**shown_circuit(health.circuit_breaker)),
        deliveries=RecentDeliveries(since=health.since, counts=dict(health.counts), complete=health.complete),
        open=OpenDocument(count=health.open.count, complete=health.open.complete),
        last_answer=_answer(health.last_answer, exact=exact) if health.last_answer else None,
        oldest_due=DueDocument(delivery_id=due.delivery_id, due_at=due.due_at) if due else None,
        explanation=explanation_document(sentences),
    )


def _answer(answer: LastAnswer, *, exact: bool) -> LastAnswerDocument:
    failure, detail = told(answer.failure, answer.failure_detail, exact=exact)
    return LastAnswerDocument(
        request_id=answer.request_id,
        at=answer.at,
        status=answer.status,
        failure=FailureKind(failure) if failure else None,
        failure_detail=detail,
        duration_ms=round(answer.duration.total_seconds() * 1000, 1),
    )
