"""`/v1/redeliveries`: order, count, follow and cancel bulk redeliveries by a filter; replays are followed here, too."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from dispatcher.accounts.owners import owner_of_redelivery
from dispatcher.db.models import Account, BulkRedelivery
from dispatcher.deliveries.bulk_redelivery import (
    MAX_PER_SECOND,
    PER_SECOND,
    cancel,
    count,
    get,
    list_of,
    order,
    selection_of,
    skipped,
)
from dispatcher.deliveries.selection import COUNTED, Selection
from dispatcher.states import Reason, State
from dispatcher.wake import REDELIVER
from dispatcher.web.authentication import By, Manager, Reader
from dispatcher.web.bodies import Body, body_as, described_body
from dispatcher.web.own_urls import OwnUrl
from dispatcher.web.ownership import AccountQuery, Name, account_of, owner_for
from dispatcher.web.pagination import Cursor, Limit, Page, page_of, read_cursor
from dispatcher.web.parameters import EVENT_TYPE, Moment
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served, Shared

router = APIRouter(prefix="/v1/redeliveries", tags=["redeliveries"])

RedeliveryId = Annotated[UUID, Path(description="The id of the order.")]
Closed = Literal[State.DELIVERED, State.DISCARDED, State.CANCELLED]


class ShownFilter(Body):
    """Which deliveries. Of a replay `states` begin with `missing`: events that the webhook takes and has no delivery
    of."""

    webhook: Annotated[UUID | None, Field(description="Deliveries to this webhook.")] = None
    event_type: Annotated[
        Annotated[Name, Field(json_schema_extra=EVENT_TYPE)] | None,
        Field(description="Of events of this type, or of a type below it."),
    ] = None
    states: Annotated[Sequence[Closed | Literal["missing"]], Field(description="In one of these states.")]
    reason: Annotated[Reason | None, Field(description="Discarded for this reason.")] = None
    since: Annotated[Moment | None, Field(description="Of events received at this time or later.")] = None
    until: Annotated[Moment | None, Field(description="Of events received before this time.")] = None


class Filter(ShownFilter):
    """Which deliveries. A member that is left out or null does not restrict them; without `states`, the discarded ones
    are taken."""

    states: Annotated[Sequence[Closed], Field(min_length=1, max_length=3, description="In one of these states.")] = (
        State.DISCARDED,
    )


class Order(Body):
    """What to redeliver, and how fast."""

    filter: Filter
    account: Annotated[
        Name | None,
        Field(description="Only for an operator's key, which requires it unless the filter has a webhook."),
    ] = None
    per_second: Annotated[
        int, Field(ge=1, le=MAX_PER_SECOND, description="The maximum number of deliveries per second.")
    ] = PER_SECOND
    dry_run: Annotated[bool, Field(description="Only count what would be redelivered.")] = False


class Count(BaseModel):
    """What a dry run finds."""

    matched: int
    matched_complete: Annotated[
        bool, Field(description=f"False: of the deliveries to look at, only the first {COUNTED:,} were counted.")
    ]


class RedeliveryDocument(BaseModel):
    """A bulk redelivery and its progress. It is open while neither `finished_at` nor `cancelled_at` is set."""

    id: UUID
    account: str
    filter: ShownFilter
    per_second: int
    matched: Annotated[
        int, Field(description="How many deliveries matched when it was ordered, as far as they have been counted.")
    ]
    matched_complete: Annotated[
        bool,
        Field(description=f"False: there are more than {COUNTED:,} deliveries to look at, and the count continues."),
    ]
    redelivered: int
    skipped: Annotated[
        int | None,
        Field(description="Set when it is finished: how many matching deliveries had changed before their turn."),
    ]
    created_at: Annotated[datetime, Field(description="Deliveries that closed later are not redelivered.")]
    finished_at: datetime | None
    cancelled_at: datetime | None


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="create_redelivery",
    summary="Redeliver everything that matches a filter, at a limited rate",
    description="With `dry_run`, the deliveries are only counted. One more than the account's limit "
    "`bulk_redeliveries` (ten, unless an operator set another) answers 409.",
    response_model=RedeliveryDocument,
    responses={
        **usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
        HTTPStatus.OK.value: {"model": Count, "description": "The count of a dry run."},
    },
    openapi_extra=described_body(Order),
)
def post_redelivery(
    *,
    caller: Manager,
    serving: Shared,
    by: By,
    ordered: Annotated[Order, body_as(Order)],
    called: OwnUrl,
    response: Response,
) -> Any:
    selection = Selection(**ordered.filter.model_dump())
    installation = serving.installation
    defaults = installation.settings.default_limits
    if not ordered.dry_run:
        serving.rates.check_stored(caller)
    with installation.transaction() as session:
        account = account_of(session, caller, ordered.account, webhook=selection.webhook)
        if ordered.dry_run:
            counted = count(session, account, selection)
            document = Count(matched=counted.matched, matched_complete=counted.is_complete)
            return Response(document.model_dump_json(), media_type="application/json")
        begun = order(session, account, selection, by=by, per_second=ordered.per_second, defaults=defaults)
        made = redelivery_document(account, begun)
    installation.waker.wake(REDELIVER)
    response.headers["Location"] = f"{called}/{made.id}"
    return made


@router.get(
    "",
    operation_id="list_redeliveries",
    summary="List bulk redeliveries, newest first",
    description="Includes finished and cancelled ones.",
    responses=usual_problems(),
)
def get_redeliveries(
    caller: Reader, installation: Served, account: AccountQuery = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[RedeliveryDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        owner = account_of(session, caller, account)
        found = list_of(session, owner, before=before, limit=limit + 1)
    page, older = page_of(found, limit, lambda item: item.id)
    return Page(items=[redelivery_document(owner, item) for item in page], next=older)


@router.get(
    "/{redelivery_id}",
    operation_id="get_redelivery",
    summary="Show a bulk redelivery and its progress",
    description="So far, `redelivered` of `matched` deliveries were redelivered.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_one_redelivery(caller: Reader, installation: Served, redelivery_id: RedeliveryId) -> RedeliveryDocument:
    with installation.transaction() as session:
        owner = owner_for(session, caller, owner_of_redelivery, redelivery_id)
        return redelivery_document(owner, get(session, owner, redelivery_id))


@router.post(
    "/{redelivery_id}/cancel",
    operation_id="cancel_redelivery",
    summary="Cancel a bulk redelivery",
    description="Deliveries that were already redelivered stay so. Answers 409 if the bulk redelivery has ended.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def post_cancel(caller: Manager, installation: Served, by: By, redelivery_id: RedeliveryId) -> RedeliveryDocument:
    with installation.transaction() as session:
        owner = owner_for(session, caller, owner_of_redelivery, redelivery_id)
        return redelivery_document(owner, cancel(session, owner, redelivery_id, by=by))


def redelivery_document(account: Account, ordered: BulkRedelivery) -> RedeliveryDocument:
    """A bulk redelivery, or a replay, as it is now."""
    selection = selection_of(ordered)
    return RedeliveryDocument(
        id=ordered.id,
        account=account.name,
        filter=ShownFilter(
            webhook=selection.webhook,
            event_type=selection.event_type,
            states=selection.stored_states,
            reason=selection.reason,
            since=selection.since,
            until=selection.until,
        ),
        per_second=ordered.per_second,
        matched=ordered.matched,
        matched_complete=not ordered.counting,
        redelivered=ordered.redelivered,
        skipped=skipped(ordered),
        created_at=ordered.created_at,
        finished_at=ordered.finished_at,
        cancelled_at=ordered.cancelled_at,
    )
