"""Events as they were stored. Every function requires the owner."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from dispatcher.db.models import Account, Event
from dispatcher.db.pages import along, page_of
from dispatcher.deliveries.history import EVENT_COLUMNS, PAGE, decoded, list_deliveries
from dispatcher.deliveries.records import (
    EventLine,
    EventPage,
    EventRecord,
)
from dispatcher.errors import NotFound

LOOKED_AT = 10_000  # rows, for one page of a filter without an index


def list_events(
    session: Session,
    account: Account,
    *,
    subject: str | None = None,
    event_type: str | None = None,
    app: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    undelivered: bool = False,
    before: UUID | None = None,
    limit: int = PAGE,
) -> EventPage:
    """The account's events, newest first; `before` is that of the previous page.

    `event_type` takes what a subscription to it takes: the type and all below it. `since` and `until` are about when
    the event was received. `undelivered`: those that matched no webhook. Type and app have no index, because each new
    event would pay for it: with them, or with `subject` and `undelivered`, a page is made from the next 10,000 events,
    and can be short or empty although there are older ones.
    """
    columns: dict[Any, object] = {Event.account_id: account.id}
    if subject is not None:
        columns[Event.subject] = subject
    wanted, keys, _ = along(columns, Event.id, since=since, until=until, before=before)
    query = select(*EVENT_COLUMNS).where(*wanted)
    if subject is not None:
        query = query.where(Event.subject.is_not(None))
    elif undelivered:
        query = query.where(Event.delivery_count == 0)

    def fits(event: Any) -> Sequence[ColumnElement[bool]]:
        found = [event.delivery_count == 0] if undelivered and subject is not None else []
        if event_type is not None:
            below = event.type.startswith(f"{event_type}.", autoescape=True)
            found.append(or_(event.type == event_type, below))
        return found + ([event.app == app] if app is not None else [])

    rows, older = page_of(session, query, keys, fits, limit=limit, looked_at=LOOKED_AT)
    return EventPage([EventLine(*row[-len(EVENT_COLUMNS) :]) for row in rows], older)


def get_event_line(session: Session, account: Account, event_id: UUID) -> EventLine:
    """One event without its data. Raises NotFound."""
    wanted = Event.id == event_id, Event.account_id == account.id
    row = session.execute(select(*EVENT_COLUMNS).where(*wanted)).first()
    if row is None:
        raise NotFound("event", event_id)
    return EventLine(*row)


def get_event(
    session: Session, account: Account, event_id: UUID, *, before: UUID | None = None, limit: int = PAGE
) -> EventRecord:
    """One event with its data and a page of its deliveries; `before` is that of the previous page. Raises NotFound."""
    row = session.execute(
        select(*EVENT_COLUMNS, Event.codec, Event.data).where(Event.id == event_id, Event.account_id == account.id)
    ).first()
    if row is None:
        raise NotFound("event", event_id)
    *line, codec, data = row
    page = list_deliveries(session, account, event=event_id, before=before, limit=limit)
    return EventRecord(EventLine(*line), decoded(codec, data), page)
