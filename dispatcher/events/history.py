"""Events as they were stored. Every function requires the owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, Delivery, Event
from dispatcher.db.pages import BEYOND, FIRST, along, page_of
from dispatcher.db.pages import LOOKED_AT as DELIVERIES_LOOKED_AT
from dispatcher.deliveries.history import EVENT_COLUMNS, PAGE, decoded, list_deliveries
from dispatcher.deliveries.records import (
    EventLine,
    EventPage,
    EventRecord,
)
from dispatcher.errors import InvalidFilter, NotFound
from dispatcher.states import State

LOOKED_AT = 10_000  # rows, for one page of a filter without an index
MOST_ACCOUNTS = 1_000  # of whose events each has to be looked for


def list_events(
    session: Session,
    account: Account | None,
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
    """The account's events (None: those of all accounts, with any filter but `subject`: see `accounts_with`), newest
    first; `before` is that of the previous page.

    `event_type` takes what a subscription to it takes: the type and all below it. `since` and `until` are about when
    the event was received. `undelivered`: those that matched no webhook. Type and app have no index, because each new
    event would pay for it: with them, or with `subject` and `undelivered`, a page is made from the next 10,000 events,
    and can be short or empty although there are older ones.
    """
    columns: dict[Any, object] = {Event.account_id: account.id} if account is not None else {}
    if subject is not None:
        columns[Event.subject] = subject
    wanted, keys, _ = along(columns, Event.id, since=since, until=until, before=before)
    query = select(*EVENT_COLUMNS).where(*wanted)
    if subject is not None:
        query = query.where(Event.subject.is_not(None))
    elif undelivered and account is not None:
        query = query.where(Event.delivery_count == 0)

    def fits(event: Any) -> Sequence[ColumnElement[bool]]:
        is_sifted = undelivered and (subject is not None or account is None)
        found = [event.delivery_count == 0] if is_sifted else []
        if event_type is not None:
            below = event.type.startswith(f"{event_type}.", autoescape=True)
            found.append(or_(event.type == event_type, below))
        return found + ([event.app == app] if app is not None else [])

    rows, older = page_of(session, query, keys, fits, limit=limit, looked_at=LOOKED_AT)
    return EventPage([EventLine(*row[-len(EVENT_COLUMNS) :]) for row in rows], older)


def accounts_with(session: Session, subject: str) -> Sequence[str]:
    """The names of the accounts that have events with this subject: each has its own part of the index. Raises
    InvalidFilter if there are too many accounts to look into each."""
    found = session.execute(
        _WITH_SUBJECT, {"subject": subject, "first": FIRST, "last": BEYOND, "most": MOST_ACCOUNTS}
    ).one()
    if found.accounts > MOST_ACCOUNTS:
        raise InvalidFilter("account", f"is required: there are more than {MOST_ACCOUNTS:,} accounts")
    return sorted(found.names)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose an event is, and how many of its deliveries are in each state, as far as they were counted."""

    account: str
    states: Mapping[State, int]


def standings(session: Session, events: Sequence[UUID]) -> Mapping[UUID, Standing]:
    """How each of these events stands, of its first 1,000 deliveries; one statement."""
    rows = session.execute(_STANDINGS, {"ids": list(events)})
    return {row.id: Standing(row.name, {State(state): row.states[state] for state in row.states}) for row in rows}


@dataclass(frozen=True, slots=True)
class OwnedEvent:
    """An event with its account, its data (None: erased), and how many of its first 10,000 deliveries are in each
    state."""

    account: Account
    event: EventLine
    data: bytes | None
    states: Mapping[State, int]


def find_event(session: Session, account: UUID | None, event_id: UUID) -> OwnedEvent:
    """An event of this account, or of any (None), in one statement. Raises NotFound."""
    some = select(Delivery.state).where(Delivery.event_id == event_id).limit(DELIVERIES_LOOKED_AT).subquery()
    counted = select(some.c.state, func.count().label("number")).group_by(some.c.state).subquery()
    states = select(func.jsonb_object_agg(counted.c.state, counted.c.number)).scalar_subquery()
    query = select(Account, *EVENT_COLUMNS, Event.codec, Event.data, states).join(Event, Event.account_id == Account.id)
    query = query.where(Event.id == event_id, *([Event.account_id == account] if account is not None else []))
    row = session.execute(query).first()
    if row is None:
        raise NotFound("event", event_id)
    owner, *line, codec, data, found = row
    return OwnedEvent(owner, EventLine(*line), decoded(codec, data), {State(each): found[each] for each in found or ()})


def reveal(session: Session, account: Account, event_id: UUID, *, by: Actor) -> None:
    """Records that somebody is shown the members of a message that are masked."""
    audit.write(session, by, Action.MESSAGE_SHOWN, event_id, account=account.id, detail={})


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


_STANDINGS = text("""
SELECT e.id, a.name, coalesce(d.states, '{}') AS states
FROM dispatcher.events e
JOIN dispatcher.accounts a ON a.id = e.account_id
CROSS JOIN LATERAL (
  SELECT jsonb_object_agg(state, number) AS states FROM (
    SELECT state, count(*) AS number
    FROM (SELECT state FROM dispatcher.deliveries WHERE event_id = e.id LIMIT 1000) first GROUP BY state) counted) d
WHERE e.id = ANY(CAST(:ids AS uuid[]))
""")

# In rows, for which there is an index.
_WITH_SUBJECT = text("""
WITH a AS MATERIALIZED (SELECT id, name FROM dispatcher.accounts WHERE deleted_at IS NULL LIMIT :most + 1)
SELECT (SELECT count(*) FROM a) AS accounts,
  ARRAY(SELECT a.name FROM a CROSS JOIN LATERAL (
    SELECT 1 FROM dispatcher.events
    WHERE (account_id, subject, id) >= (a.id, :subject, :first) AND (account_id, subject, id) <= (a.id, :subject, :last)
      AND subject IS NOT NULL
    ORDER BY account_id DESC, subject DESC, id DESC LIMIT 1) e) AS names
""")
