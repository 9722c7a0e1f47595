"""The history of deliveries, with their attempts. Every function requires the owner."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Uuid, cast, func, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased

from dispatcher.db.models import ERASED, Account, Attempt, Delivery, Event, Request, Webhook
from dispatcher.db.pages import LOOKED_AT, along
from dispatcher.deliveries.listing import Wanted, page_of_deliveries
from dispatcher.deliveries.records import (
    AttemptRecord,
    DeliveryLine,
    DeliveryPage,
    DeliveryRecord,
    EventLine,
    LoggedDelivery,
)
from dispatcher.errors import ConfigurationError, NotFound
from dispatcher.states import Reason, State

PAGE = 50
ATTEMPTS = 100  # of a delivery, with what was sent and answered


def list_deliveries(
    session: Session,
    account: Account | None,
    *,
    webhook: UUID | None = None,
    event: UUID | None = None,
    state: State | None = None,
    reason: Reason | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: UUID | None = None,
    limit: int = PAGE,
) -> DeliveryPage:
    """A page of the account's deliveries (None: of all accounts, unless by `event` or `webhook`), newest first,
    including those of deleted webhooks; `before` is that of the previous page. `since` and `until` are about when the
    event was received. Raises InvalidFilter."""
    wanted = Wanted(webhook=webhook, event=event, state=state, reason=reason, since=since, until=until)
    ids, older = page_of_deliveries(session, account.id if account is not None else None, wanted, before, limit)
    query = (
        _delivery_lines(Delivery)
        .select_from(Delivery)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .outerjoin(Event, Event.id == Delivery.event_id)
        .where(Delivery.id.in_(ids))
    )
    lines = {row.id: _delivery_line(row) for row in session.execute(query)}
    return DeliveryPage([lines[each] for each in ids if each in lines], older)


def states_of_event(session: Session, event: UUID) -> Mapping[State, int]:
    """How many of an event's deliveries are in each state, of the first 10,000."""
    some = select(Delivery.state).where(Delivery.event_id == event).limit(LOOKED_AT).subquery()
    query = select(some.c.state, func.count()).group_by(some.c.state)
    return {State(state): count for state, count in session.execute(query)}


def log_of_webhook(
    session: Session,
    account: Account,
    webhook: UUID,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: UUID | None = None,
    limit: int = PAGE,
) -> list[LoggedDelivery]:
    """A webhook's deliveries, oldest first; `after` is the last id of the previous page. `since` and `until` are about
    when the event was received. A page costs the same anywhere in the log."""
    # A delivery's id has the same millisecond as its event's id.
    columns = {Delivery.webhook_id: webhook}
    wanted, _, order = along(columns, Delivery.id, since=since, until=until, after=after, oldest_first=True)
    page = select(Delivery).where(*wanted).order_by(*order).limit(limit).subquery().c
    last_attempt = (
        select(Attempt.created_at)
        .where(Attempt.delivery_id == page.id)
        .order_by(Attempt.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        _delivery_lines(page, func.coalesce(page.finished_at, last_attempt, page.created_at).label("updated_at"))
        .join(Webhook, Webhook.id == page.webhook_id)
        .outerjoin(Event, Event.id == page.event_id)
        .where(Webhook.account_id == account.id)
        .order_by(page.id)
    )
    return [LoggedDelivery(_delivery_line(row), row.updated_at) for row in session.execute(query)]


def find_delivery(session: Session, account: Account, webhook: UUID, event: UUID) -> UUID:
    """The id of the delivery of this event to this webhook. Raises NotFound (the event)."""
    # As rows, for which there is but one index: the planner may believe that a webhook has hardly any deliveries.
    keys = tuple_(Delivery.event_id, Delivery.webhook_id)
    found = session.scalar(
        select(Delivery.id)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(keys >= (event, webhook), keys <= (event, webhook), Webhook.account_id == account.id)
        .order_by(Delivery.event_id, Delivery.webhook_id)
    )
    if found is None:
        raise NotFound("event", event)
    return found


def get_delivery(
    session: Session, account: Account, delivery_id: UUID, *, before: int | None = None, limit: int = ATTEMPTS
) -> DeliveryRecord:
    """One delivery with its event, message and last attempts; each redelivery adds some. `before` is that of the
    previous page. Raises NotFound."""
    row = session.execute(
        _delivery_lines(Delivery, *EVENT_COLUMNS, Event.codec, Event.data)
        .select_from(Delivery)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .outerjoin(Event, Event.id == Delivery.event_id)
        .where(Delivery.id == delivery_id, Webhook.account_id == account.id)
    ).first()
    if row is None:
        raise NotFound("delivery", delivery_id)
    last = _attempts().where(Attempt.delivery_id == delivery_id).limit(limit + 1)
    attempts = session.execute(last.where(Attempt.number < before) if before is not None else last).all()
    shown = [_attempt(attempt) for attempt in reversed(attempts[:limit])]
    earlier = shown[0].number if len(attempts) > limit else None
    event, data = None, None
    if row.event_type is not None:
        *line, codec, stored = row[-len(EVENT_COLUMNS) - 2 :]
        event, data = EventLine(*line), decoded(codec, stored)
    return DeliveryRecord(_delivery_line(row), event, data, shown, earlier)


def attempts_of(
    session: Session, deliveries: Sequence[UUID], *, limit: int
) -> Mapping[UUID, tuple[Webhook, Sequence[AttemptRecord]]]:
    """Of each of these deliveries that was attempted: its webhook, and its last attempts, the newest first; one more
    than `limit` if there are more."""
    wanted = select(func.unnest(cast(list(deliveries), ARRAY(Uuid))).label("id")).subquery().c.id
    last = _attempts().where(Attempt.delivery_id == wanted).limit(limit + 1).subquery("last").lateral()
    query = (
        select(wanted, Webhook, *last.c)
        .select_from(wanted.table)
        .join(Delivery, Delivery.id == wanted)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .join(last, true())
        .order_by(wanted, last.c.number.desc())
    )
    found: dict[UUID, tuple[Webhook, list[AttemptRecord]]] = {}
    for delivery, webhook, *attempt in session.execute(query):
        found.setdefault(delivery, (webhook, []))[1].append(_attempt(attempt))
    return found


def _attempts() -> Select[Any]:
    """Attempts, each with its request and the one before that, the newest first."""
    columns = *_request_columns(Request), _Refused.id, *_request_columns(_Refused)
    return (
        select(*_ATTEMPT_COLUMNS, Attempt.request_id, *columns)
        .outerjoin(Request, Request.id == Attempt.request_id)
        .outerjoin(_Refused, _Refused.id == Request.replaces)
        .order_by(Attempt.number.desc())
    )


EVENT_COLUMNS: tuple[Any, ...] = (
    Event.id,
    Event.app,
    Event.type,
    Event.subject,
    Event.occurred_at,
    Event.expires_at,
    Event.created_at,
    Event.delivery_count,
    Event.traceparent,
    (Event.codec == ERASED).label("erased"),
)
_Refused = aliased(Request)


def _request_columns(request: Any) -> tuple[Any, ...]:
    """In the order of AttemptRecord, after the request's id."""
    return (
        request.method,
        request.url_masked,
        request.headers_masked,
        request.status,
        request.failure,
        request.failure_detail,
        request.answer_headers,
        request.answer_excerpt,
        request.answer_cut,
        request.answer_unreadable,
        request.started_at,
        request.duration,
    )


_ATTEMPT_COLUMNS = (Attempt.id, Attempt.number, Attempt.created_at, Attempt.verdict, Attempt.outcome_unknown)


def _delivery_lines(delivery: Any, *more: Any) -> Select[Any]:
    """Columns named and ordered as the fields of DeliveryLine."""
    return select(
        delivery.id,
        delivery.event_id,
        Event.type.label("event_type"),
        Event.subject,
        delivery.webhook_id,
        Webhook.name.label("webhook_name"),
        Webhook.url_masked.label("webhook_url"),
        delivery.state,
        delivery.reason,
        delivery.attempt_count,
        delivery.due_at,
        delivery.give_up_at,
        delivery.created_at,
        delivery.finished_at,
        *more,
    )


def _delivery_line(row: Any) -> DeliveryLine:
    line = DeliveryLine(*row[: len(fields(DeliveryLine))])
    return replace(line, state=State(line.state), reason=Reason(line.reason) if line.reason is not None else None)


def _attempt(row: Any) -> AttemptRecord:
    own, requests = row[: len(_ATTEMPT_COLUMNS)], row[len(_ATTEMPT_COLUMNS) :]
    last, refused = requests[: len(requests) // 2], requests[len(requests) // 2 :]
    record = _record(*own, *last)
    return record if refused[0] is None else replace(record, refused=_record(*own[:3], None, False, *refused))


def _record(*columns: Any) -> AttemptRecord:
    record = AttemptRecord(*columns)
    excerpt = record.answer_excerpt
    return replace(record, answer_excerpt=bytes(excerpt) if excerpt is not None else None)


def decoded(codec: int, data: bytes) -> bytes | None:
    """The event's data; None once it was erased."""
    if codec == ERASED:
        return None
    if codec != 0:
        raise ConfigurationError(f"the event's data is stored in form {codec}, which this version cannot read")
    return bytes(data)
