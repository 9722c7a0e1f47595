"""`/v1/deliveries`: list, show, redeliver and cancel deliveries."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from sqlalchemy.orm import Session

from dispatcher.accounts.owners import owner_of_delivery
from dispatcher.api.deliveries.documents import DeliveryDocument, DeliveryRecordDocument, delivery_record_document
from dispatcher.db.models import Account
from dispatcher.deliveries.history import get_delivery, list_deliveries
from dispatcher.deliveries.redelivery import cancel, redeliver
from dispatcher.states import Reason, State
from dispatcher.web.authentication import By, Manager, Reader
from dispatcher.web.ownership import AccountQuery, account_of, owner_for
from dispatcher.web.pagination import Cursor, Limit, Page, read_cursor, write_cursor
from dispatcher.web.parameters import Since, Until
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served, Shared
from dispatcher.webhooks.explanation.reading import explain_one_delivery

router = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])

DeliveryId = Annotated[UUID, Path(description="The delivery's id.")]


@router.get(
    "",
    operation_id="list_deliveries",
    summary="List deliveries, newest first",
    description="Those of one event: of the newest webhook first. With an operator's key, `account` can be left out "
    "if `webhook` or `event` is given. With `state`, a page may search the next 10,000 deliveries only, so it can be "
    "short while `next` is not null. `reason` goes with no other state than `discarded` (422). An account with more "
    "than 50,000 webhooks, deleted ones included, must give `webhook` or `event`.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_deliveries(
    caller: Reader,
    installation: Served,
    *,
    account: AccountQuery = None,
    webhook: Annotated[UUID | None, Query(description="To this webhook.")] = None,
    event: Annotated[UUID | None, Query(description="Of this event.")] = None,
    state: Annotated[State | None, Query(description="In this state.")] = None,
    reason: Annotated[Reason | None, Query(description="Discarded for this reason.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DeliveryDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        page = list_deliveries(
            session,
            account_of(session, caller, account, webhook=webhook, event=event),
            webhook=webhook,
            event=event,
            state=state,
            reason=reason,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )
    return Page(items=list(map(DeliveryDocument.model_validate, page.deliveries)), next=write_cursor(page.before))


@router.get(
    "/{delivery_id}",
    operation_id="get_delivery",
    summary="Show a delivery with its attempts, each with its request and the captured answer",
    description="Up to 8 KiB of an answer's headers and the first 4 KiB of its body are kept. Secrets are masked. "
    "Of many attempts the last 100 are shown; `attempts_next` leads to those before, as `attempts_before`. "
    "`explanation` says why it is where it is and what happens next.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_one_delivery(
    caller: Reader,
    installation: Served,
    delivery_id: DeliveryId,
    attempts_before: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="`attempts_next` of the previous answer.")
    ] = None,
) -> DeliveryRecordDocument:
    with installation.transaction() as session:
        account = owner_for(session, caller, owner_of_delivery, delivery_id)
        record = get_delivery(session, account, delivery_id, before=attempts_before)
        exact = caller.sees_all
        sentences = explain_one_delivery(session, installation, delivery_id, exact=exact)
    return delivery_record_document(account.name, record, sentences, exact=exact)


@router.post(
    "/{delivery_id}/redeliver",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="redeliver_delivery",
    summary="Redeliver a closed delivery immediately, with its retry schedule from the start",
    description="The delivery must be delivered, discarded or cancelled. Answers 409 if it is still open.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def post_redeliver(caller: Manager, serving: Shared, by: By, delivery_id: DeliveryId) -> DeliveryDocument:
    serving.rates.check_stored(caller)
    installation = serving.installation
    with installation.transaction() as session:
        account = owner_for(session, caller, owner_of_delivery, delivery_id)
        redeliver(session, account, delivery_id, installation.timing, by=by)
        document = _document(session, account, delivery_id)
    installation.waker.wake()
    return document


@router.post(
    "/{delivery_id}/cancel",
    operation_id="cancel_delivery",
    summary="Cancel a delivery that waits for its next attempt",
    description="Nothing more is sent. Answers 409 if the delivery is being attempted or has ended.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def post_cancel(caller: Manager, installation: Served, by: By, delivery_id: DeliveryId) -> DeliveryDocument:
    with installation.transaction() as session:
        account = owner_for(session, caller, owner_of_delivery, delivery_id)
        cancel(session, account, delivery_id, by=by)
        return _document(session, account, delivery_id)


def _document(session: Session, account: Account, delivery_id: UUID) -> DeliveryDocument:
    return DeliveryDocument.model_validate(get_delivery(session, account, delivery_id, limit=1).delivery)
