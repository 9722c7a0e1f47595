"""`/v1/events`: `enqueue` and `enqueue_many` over HTTP, and the stored events."""

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from dispatcher.accounts.owners import owner_of_event
from dispatcher.api.deliveries.documents import DeliveryDocument, EventDocument
from dispatcher.api.events.bodies import EVENT_SCHEMA, EVENTS_SCHEMA, read_events
from dispatcher.api.events.documents import (
    AcceptedEvent,
    AcceptedItem,
    EventRecordDocument,
    Outcomes,
    RefusedItem,
    WholeEventDocument,
)
from dispatcher.api.events.taking import take_event
from dispatcher.api.explanation import explanation_document
from dispatcher.deliveries.history import states_of_event
from dispatcher.errors import KeyReused
from dispatcher.events.enqueue import enqueue_many
from dispatcher.events.event import Accepted, Event, Refused
from dispatcher.events.history import get_event, list_events
from dispatcher.web.authentication import Reader, SenderOfMany, SenderOfOne
from dispatcher.web.middleware import read_body, read_events_body
from dispatcher.web.ownership import AccountQuery, Name, account_of, owner_for
from dispatcher.web.pagination import CURSOR, MAX_PAGE, Cursor, Limit, Page, read_cursor, write_cursor
from dispatcher.web.parameters import Since, Until
from dispatcher.web.problems import FieldError, Problem, invalid, problem_for, usual_problems
from dispatcher.web.request_counts import refusal_of
from dispatcher.web.serving import Served, Shared
from dispatcher.webhooks.explanation.reading import explain_stored_event

router = APIRouter(prefix="/v1", tags=["events"])

_EVENT_BYTES = 8 * 1024  # of a body that is refused as a whole: as many count as one event

DeliveriesBefore = Annotated[str | None, Query(pattern=CURSOR, description="`deliveries_next` of the previous answer.")]


def given_traceparent(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="traceparent",
            description="The place in a trace, as W3C Trace Context has it. It is kept with the event and stands in "
            "the log lines of its attempts. One that is not valid is ignored.",
        ),
    ] = None,
) -> str | None:
    """The request's place in a trace, checked when it is stored. Several headers are one value, which is not valid."""
    return ", ".join(request.headers.getlist("traceparent")) or None


TraceParent = Annotated[str | None, Depends(given_traceparent)]


@router.post(
    "/events",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="send_event",
    summary="Send an event, to be delivered to every webhook that takes it",
    description="When the answer arrives, the event is stored with a delivery for each webhook that takes it. With an "
    "idempotency key it is safe to send it again. An event that no webhook takes is stored too: `deliveries` is then "
    "0, and `nearest_types` lists types that may have been meant.",
    responses=usual_problems(HTTPStatus.CONFLICT, body=True),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": EVENT_SCHEMA}}}},
)
async def post_event(
    caller: SenderOfOne,
    serving: Shared,
    body: Annotated[bytes, Depends(read_body)],
    idempotency_key: Annotated[
        str | None, Header(description="An alternative to the body's `idempotency_key`.")
    ] = None,
    traceparent: TraceParent = None,
) -> AcceptedEvent:
    return await take_event(caller, serving, body, idempotency_key, traceparent)


@router.post(
    "/events/batch",
    operation_id="send_events",
    summary="Send up to 1,000 events; a refused one does not affect the others",
    description="Each has an item in the answer, in order. The status is 200 even if all were refused: check "
    "`refused`.",
    response_description="The receipt of each event, even if all were refused.",
    responses=usual_problems(body=True),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": EVENTS_SCHEMA}}}},
)
def post_events(
    caller: SenderOfMany,
    serving: Shared,
    body: Annotated[bytes, Depends(read_events_body)],
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
    traceparent: TraceParent = None,
) -> Outcomes:
    if idempotency_key is not None:
        raise invalid(("Idempotency-Key", "is for a single event: give each event its own `idempotency_key`"))
    try:
        events = read_events(caller, body)
    except Problem:  # it has cost as much as one with events
        serving.rates.spend_events(caller, max(1, len(body) // _EVENT_BYTES))
        raise
    serving.rates.spend_events(caller, len(events))
    given = (event for event in events if isinstance(event, Event))
    traced = given if traceparent is None else (replace(event, traceparent=traceparent) for event in given)
    stored = enqueue_many(traced, producer=serving.installation)
    receipts = [event if isinstance(event, Problem) else next(stored) for event in events]
    items = [_item(receipt) for receipt in receipts]
    accepted = sum(isinstance(receipt, Accepted) for receipt in receipts)
    serving.counts.batch(map(_why_refused, receipts))
    return Outcomes(accepted=accepted, refused=len(items) - accepted, items=items)


@router.get(
    "/events",
    operation_id="list_events",
    summary="List events, newest first",
    description="Without their messages. With `type` or `app`, a page searches the next 10,000 events, so it can be "
    "short while `next` is not null.",
    responses=usual_problems(),
)
def get_events(
    caller: Reader,
    installation: Served,
    *,
    account: AccountQuery = None,
    event_type: Annotated[Name | None, Query(alias="type", description="Of this type, or of a type below it.")] = None,
    subject: Annotated[Name | None, Query(description="With this subject.")] = None,
    app: Annotated[Name | None, Query(description="Of this app.")] = None,
    since: Since = None,
    until: Until = None,
    undelivered: Annotated[bool, Query(description="Only events that no webhook takes.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[EventDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        page = list_events(
            session,
            account_of(session, caller, account),
            subject=subject,
            event_type=event_type,
            app=app,
            since=since,
            until=until,
            undelivered=undelivered,
            before=before,
            limit=limit,
        )
    return Page(items=list(map(EventDocument.model_validate, page.events)), next=write_cursor(page.before))


@router.get(
    "/events/{event_id:uuid}",  # `:uuid`, so that /events/batch does not match
    operation_id="get_event",
    summary="Show an event with its message and its deliveries",
    description="`data` is the message, byte for byte as it was sent. `deliveries` are 100 at most, of the newest "
    "webhooks first; `deliveries_next` leads to the others, as `deliveries_before`. `explanation` says how many "
    "webhooks took the event, or what each of the account's takes instead.",
    response_model=WholeEventDocument,
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_one_event(
    caller: Reader,
    installation: Served,
    event_id: Annotated[UUID, Path(description="The event's id.")],
    deliveries_before: DeliveriesBefore = None,
) -> Response:
    before = read_cursor(deliveries_before)
    with installation.transaction() as session:
        account = owner_for(session, caller, owner_of_event, event_id)
        record = get_event(session, account, event_id, before=before, limit=MAX_PAGE)
        states = states_of_event(session, event_id)
        sentences = explain_stored_event(session, account, record.event, states)
    event = EventDocument.model_validate(record.event)
    deliveries = list(map(DeliveryDocument.model_validate, record.page.deliveries))
    document = EventRecordDocument(
        **event.model_dump(),
        account=account.name,
        deliveries=deliveries,
        deliveries_next=write_cursor(record.page.before),
        explanation=explanation_document(sentences),
    )
    # The message is inserted as bytes: a parser could change its numbers.
    members = document.model_dump_json().removesuffix("}").encode()
    return Response(
        members + b',"data":' + (record.data if record.data is not None else b"null") + b"}",
        media_type="application/json",
    )


def _item(receipt: Accepted | Refused | Problem) -> AcceptedItem | RefusedItem:
    match receipt:
        case Accepted():
            return AcceptedItem.model_validate(receipt)
        case Refused(KeyReused()):
            errors: Sequence[tuple[str, str]] = [("idempotency_key", "was used before for an event with other content")]
        case Refused(error):
            errors = problem_for(error).errors
        case Problem():
            errors = receipt.errors
    return RefusedItem(errors=[FieldError(field=field, reason=reason) for field, reason in errors])


def _why_refused(receipt: Accepted | Refused | Problem) -> str:
    """For the counts; an empty text if it was not."""
    match receipt:
        case Accepted():
            return ""
        case Refused(error):
            return refusal_of(problem_for(error).status)
        case Problem(status=status):
            return refusal_of(status)
