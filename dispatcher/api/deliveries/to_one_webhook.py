"""Sending again to one webhook: one event, or all that it takes now and did not get (a replay)."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field

from dispatcher.accounts.owners import owner_of_event, owner_of_webhook
from dispatcher.api.deliveries.bulk_redelivery import Count, RedeliveryDocument, redelivery_document
from dispatcher.api.deliveries.documents import DeliveryDocument
from dispatcher.api.webhooks.access import WebhookId
from dispatcher.deliveries.bulk_redelivery import MAX_PER_SECOND, PER_SECOND, count, order
from dispatcher.deliveries.history import get_delivery
from dispatcher.deliveries.missing import kept_since
from dispatcher.deliveries.redelivery import send_to
from dispatcher.deliveries.selection import replay_of
from dispatcher.wake import REDELIVER
from dispatcher.web.authentication import By, Manager
from dispatcher.web.bodies import Body, body_as, described_body
from dispatcher.web.own_urls import OwnUrl
from dispatcher.web.ownership import owner_for
from dispatcher.web.parameters import Moment
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Shared

router = APIRouter(prefix="/v1")


class Receiver(Body):
    """To which webhook."""

    webhook: Annotated[UUID, Field(description="A webhook of the event's account.")]


class Replay(Body):
    """Of which time, and how fast."""

    since: Annotated[Moment, Field(description="Events received at this time or later.")]
    until: Annotated[Moment | None, Field(description="Events received before this time. Default: now.")] = None
    delivered: Annotated[bool, Field(description="Also what the webhook has got already.")] = False
    per_second: Annotated[
        int, Field(ge=1, le=MAX_PER_SECOND, description="The maximum number of deliveries per second.")
    ] = PER_SECOND
    dry_run: Annotated[bool, Field(description="Only count what would be sent.")] = False


class ReplayCount(Count):
    """What a dry run of a replay finds."""

    erased: Annotated[int, Field(description="Events that would be sent, too, if their message had not been erased.")]
    kept_since: Annotated[
        datetime | None, Field(description="Events of before are no longer kept, if there were any; null: all are.")
    ]


@router.post(
    "/events/{event_id}/deliveries",
    tags=["events"],
    status_code=HTTPStatus.ACCEPTED,
    operation_id="send_event_to_webhook",
    summary="Send a stored event to one webhook",
    description="Also an event that no webhook took, or that has expired, and whatever types the webhook takes. A "
    "delivery that is closed is redelivered. If it is still open it stays as it is, and the status is 200. Answers 409 "
    "if the webhook is disabled, quarantined or of another app, or if the event's message was erased.",
    responses={
        **usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
        HTTPStatus.OK.value: {"model": DeliveryDocument, "description": "The delivery was on its way already."},
    },
    openapi_extra=described_body(Receiver),
)
def post_delivery(
    *,
    caller: Manager,
    serving: Shared,
    by: By,
    event_id: Annotated[UUID, Path(description="The event's id.")],
    to: Annotated[Receiver, body_as(Receiver)],
    response: Response,
) -> DeliveryDocument:
    serving.rates.check_stored(caller)
    installation = serving.installation
    with installation.transaction() as session:
        account = owner_for(session, caller, owner_of_event, event_id)
        sent = send_to(session, account, event_id, to.webhook, installation.timing, by=by)
        record = get_delivery(session, account, sent.delivery_id, limit=1)
    if sent.is_opened:
        installation.waker.wake()
    else:
        response.status_code = HTTPStatus.OK
    return DeliveryDocument.model_validate(record.delivery)


@router.post(
    "/webhooks/{webhook_id}/replay",
    tags=["redeliveries"],
    status_code=HTTPStatus.ACCEPTED,
    operation_id="replay_webhook",
    summary="Send a webhook everything since a time that it takes and did not get, at a limited rate",
    description="For a webhook that is new, was repaired or takes more than before. Events of its account and app that "
    "it takes now are sent, oldest first, if it has no delivery of them or one that was discarded or cancelled. It is "
    "a bulk redelivery: follow and cancel it as one. With `dry_run`, the events are only counted. Answers 409 if the "
    "webhook is disabled or quarantined, or if the account has as many bulk redeliveries under way as it may.",
    response_model=RedeliveryDocument,
    responses={
        **usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
        HTTPStatus.OK.value: {"model": ReplayCount, "description": "The count of a dry run."},
    },
    openapi_extra=described_body(Replay),
)
def post_replay(
    *,
    caller: Manager,
    serving: Shared,
    by: By,
    webhook_id: WebhookId,
    replay: Annotated[Replay, body_as(Replay)],
    called: OwnUrl,
    response: Response,
) -> Any:
    selection = replay_of(webhook_id, since=replay.since, until=replay.until, delivered=replay.delivered)
    installation = serving.installation
    defaults = installation.settings.default_limits
    if not replay.dry_run:
        serving.rates.check_stored(caller)
    with installation.transaction() as session:
        account = owner_for(session, caller, owner_of_webhook, webhook_id)
        if replay.dry_run:
            counted = count(session, account, selection)
            document = ReplayCount(
                matched=counted.matched,
                matched_complete=counted.is_complete,
                erased=counted.erased,
                kept_since=kept_since(session, replay.since),
            )
            return Response(document.model_dump_json(), media_type="application/json")
        begun = order(session, account, selection, by=by, per_second=replay.per_second, defaults=defaults)
        made = redelivery_document(account, begun)
    installation.waker.wake(REDELIVER)
    response.headers["Location"] = f"{called.rpartition('/webhooks/')[0]}/redeliveries/{made.id}"
    return made
