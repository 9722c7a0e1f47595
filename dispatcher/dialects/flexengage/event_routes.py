"""flexEngage's calls about a webhook's events: the log, one event with its attempts, and sending it again."""

from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, BeforeValidator
from sqlalchemy.orm import Session

from dispatcher.accounts.api_keys import Caller
from dispatcher.db.models import Account
from dispatcher.deliveries.history import find_delivery, get_delivery, log_of_webhook
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.dialects.flexengage.answers import described
from dispatcher.dialects.flexengage.brands import account_of, found_or, read_id, webhook_of
from dispatcher.dialects.flexengage.events import EventsPage, EventWithAttempts, Page, shown_event, shown_record
from dispatcher.dialects.flexengage.webhook_routes import NO_WEBHOOK, Brand, By, Manager, Reader, WebhookId
from dispatcher.errors import NotFound, WrongState
from dispatcher.installation import Installation
from dispatcher.web.serving import Served
from dispatcher.webhooks.store import Webhooks

NO_EVENT = "No event with that ID was found"
DEFAULT_SIZE, MAX_SIZE = 20, 100

router = APIRouter(prefix="/v1/{brandId}/webhooks/{id}/events", tags=["events"])

# Without the first step a number would do: seconds since 1970.
Time = Annotated[AwareDatetime, BeforeValidator(lambda text: datetime.fromisoformat(text.upper()))]
EventId = Annotated[str, Path(alias="eventId", description="A UUID.")]


@router.get(
    "",
    summary="The events of a webhook, in the order in which they came",
    responses=described(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def list_events(
    *,
    caller: Reader,
    installation: Served,
    brand: Brand,
    identifier: WebhookId,
    size: Annotated[int, Query(ge=1, le=MAX_SIZE, description="How many on one page.")] = DEFAULT_SIZE,
    start: Annotated[Time | None, Query(description="Only events that came then or later.")] = None,
    end: Annotated[Time | None, Query(description="Only events that came before.")] = None,
    start_id: Annotated[
        UUID | None,
        Query(alias="startId", description="The page begins after this event: `lastId` of the page before."),
    ] = None,
) -> EventsPage:
    with found_or(NO_WEBHOOK), installation.transaction() as session:
        account = account_of(session, caller, brand)
        webhook = webhook_of(Webhooks(session, installation), account, identifier).id
        with found_or(NO_EVENT):
            after = find_delivery(session, account, webhook, start_id) if start_id is not None else None
        found = log_of_webhook(session, account, webhook, since=start, until=end, after=after, limit=size + 1)
    page = found[:size]
    last = page[-1].delivery.event_id if len(found) > size else None
    return EventsPage(
        events=[shown_event(logged) for logged in page], page=Page(size=size, startId=start_id, lastId=last)
    )


@router.get(
    "/{eventId}",
    summary="One event with its attempts",
    responses=described(HTTPStatus.NOT_FOUND),
)
def get_event(
    caller: Reader, installation: Served, brand: Brand, identifier: WebhookId, event_id: EventId
) -> EventWithAttempts:
    with found_or(NO_EVENT), installation.transaction() as session:
        account, delivery = _find(session, installation, caller, brand, identifier, event_id=event_id)
        return shown_record(get_delivery(session, account, delivery))


@router.post(
    "/{eventId}/retry",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    summary="Have an event sent again; one that is still on its way is left as it is",
    responses=described(HTTPStatus.NOT_FOUND),
)
def retry(
    *, caller: Manager, installation: Served, by: By, brand: Brand, identifier: WebhookId, event_id: EventId
) -> Response:
    with found_or(NO_EVENT), installation.transaction() as session:
        account, delivery = _find(session, installation, caller, brand, identifier, event_id=event_id)
        if get_delivery(session, account, delivery).event is None:
            raise NotFound("event", event_id)  # no longer kept: there is nothing to send
        with suppress(WrongState):  # still open: what was asked for is queued already
            redeliver(session, account, delivery, installation.timing, by=by)
    installation.waker.wake()
    return Response(status_code=HTTPStatus.ACCEPTED)


def _find(
    session: Session, installation: Installation, caller: Caller, brand: str, identifier: str, *, event_id: str
) -> tuple[Account, UUID]:
    account = account_of(session, caller, brand)
    webhook = webhook_of(Webhooks(session, installation), account, identifier)
    return account, find_delivery(session, account, webhook.id, read_id("event", event_id))
