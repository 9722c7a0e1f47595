"""Events as they were stored. Every function requires the owner."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, func, or_, select, true
from sqlalchemy.orm import Session

from dispatcher.db.id_ranges import between
from dispatcher.db.models import Account, Event
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
    event would pay for it: with them a page is made from the next 10,000 events, and can be short or empty although
    there are older ones.
    """
    wanted = [Event.account_id == account.id, *between(Event.id, since, until, before)]
    query: Select[Any] = select(*EVENT_COLUMNS).where(*wanted)
    if subject is not None:
        query = query.where(Event.subject == subject)
    if undelivered:
        query = query.where(Event.delivery_count == 0)
    query = query.order_by(Event.id.desc())
    if event_type is not None or app is not None:
        return _sifted(session, query, event_type, app, limit)
    lines = [EventLine(*row) for row in session.execute(query.limit(limit + 1))]
    return EventPage(lines[:limit], lines[limit - 1].id if len(lines) > limit else None)


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


def _sifted(session: Session, query: Select[Any], event_type: str | None, app: str | None, limit: int) -> EventPage:
    """A page of those of the query's next rows that match. It is one statement, so one snapshot: the last row looked at
    must belong to the same rows."""
    looked = query.limit(LOOKED_AT).subquery()
    found = select(looked).order_by(looked.c.id.desc()).limit(limit + 1)
    if event_type is not None:
        below = looked.c.type.startswith(f"{event_type}.", autoescape=True)
        found = found.where(or_(looked.c.type == event_type, below))
    if app is not None:
        found = found.where(looked.c.app == app)
    page = found.cte("page")
    is_short = select(func.count()).select_from(page).scalar_subquery() <= limit
    last_looked_at = query.with_only_columns(Event.id).offset(LOOKED_AT - 1).limit(1).scalar_subquery()
    one = select(case((is_short, last_looked_at)).label("last")).subquery()
    rows = session.execute(select(one, page).select_from(one.outerjoin(page, true())).order_by(page.c.id.desc())).all()
    lines = [EventLine(*row[1:]) for row in rows if row.id is not None]
    return EventPage(lines[:limit], lines[limit - 1].id if len(lines) > limit else rows[0].last)
