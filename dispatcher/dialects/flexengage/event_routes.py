"""flexEngage's calls about a webhook's events: the log, one event with its attempts, and its redelivery."""

from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, BeforeValidator
from sqlalchemy.orm import Session

from dispatcher.db.models import Account
from dispatcher.deliveries.history import find_delivery, get_delivery, log_of_webhook
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.dialects.flexengage.brands import Manageable, Readable, WebhookId
from dispatcher.dialects.flexengage.errors import FLEXENGAGE
from dispatcher.dialects.flexengage.events import EventsPage, EventWithAttempts, Page, shown_event, shown_record
from dispatcher.dialects.frame import OwnWebhooks
from dispatcher.errors import NotFound, WrongState
from dispatcher.web.serving import Served

DEFAULT_SIZE, MAX_SIZE = 20, 100

router = APIRouter(prefix="/v1/{brandId}/webhooks/{id}/events", tags=["events"])

# Without the validator, a number would be accepted, too: seconds since 1970.
Time = Annotated[AwareDatetime, BeforeValidator(lambda text: datetime.fromisoformat(text.upper()))]
EventId = Annotated[str, Path(alias="eventId", description="A UUID.")]


@router.get(
    "",
    summary="List the events of a webhook, oldest first",
    responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def list_events(
    *,
    own: Readable,
    installation: Served,
    identifier: WebhookId,
    size: Annotated[int, Query(ge=1, le=MAX_SIZE, description="How many events on one page.")] = DEFAULT_SIZE,
    start: Annotated[Time | None, Query(description="Only events received at this time or later.")] = None,
    end: Annotated[Time | None, Query(description="Only events received before this time.")] = None,
    start_id: Annotated[
        UUID | None,
        Query(alias="startId", description="The page starts after this event: `lastId` of the previous page."),
    ] = None,
) -> EventsPage:
    with installation.transaction() as session:
        account, webhook = own.account(session), own.id_of(identifier, session)
        after = find_delivery(session, account, webhook, start_id) if start_id is not None else None
        found = log_of_webhook(session, account, webhook, since=start, until=end, after=after, limit=size + 1)
    page = found[:size]
    last = page[-1].delivery.event_id if len(found) > size else None
    return EventsPage(
        events=[shown_event(logged) for logged in page], page=Page(size=size, startId=start_id, lastId=last)
    )


@router.get(
    "/{eventId}",
    summary="Show an event with its attempts",
    responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND),
)
def get_event(own: Readable, installation: Served, identifier: WebhookId, event_id: EventId) -> EventWithAttempts:
    with installation.transaction() as session:
        account, delivery = _find(session, own, identifier, event_id)
        return shown_record(get_delivery(session, account, delivery))


@router.post(
    "/{eventId}/retry",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    summary="Redeliver an event; one that is still open stays unchanged",
    responses=FLEXENGAGE.described(HTTPStatus.NOT_FOUND),
)
def retry(own: Manageable, installation: Served, identifier: WebhookId, event_id: EventId) -> Response:
    own.check_stored()
    with installation.transaction() as session:
        account, delivery = _find(session, own, identifier, event_id)
        if get_delivery(session, account, delivery, limit=1).event is None:
            raise NotFound("event", event_id)  # no longer kept: there is nothing to send
        with suppress(WrongState):  # still open: it will be sent anyway
            redeliver(session, account, delivery, installation.timing, by=own.by)
    installation.waker.wake()
    return Response(status_code=HTTPStatus.ACCEPTED)


def _find(session: Session, own: OwnWebhooks, identifier: str, event_id: str) -> tuple[Account, UUID]:
    account, webhook = own.account(session), own.id_of(identifier, session)
    try:
        return account, find_delivery(session, account, webhook, UUID(event_id))
    except ValueError:
        raise NotFound("event", event_id) from None
