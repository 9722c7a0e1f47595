"""Which deliveries a bulk redelivery takes, and how many those are: counted in steps of bounded cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, select, true
from sqlalchemy.orm import Session

from dispatcher.db.id_ranges import between
from dispatcher.db.models import Delivery, Event, Webhook
from dispatcher.states import Reason, State

UNSUCCESSFUL = frozenset({State.DISCARDED, State.CANCELLED})  # these states have their own index
COUNTED = 20_000  # deliveries (of a replay: events) that one step looks at; a webhook without any is like one
MISSING = "missing"  # beside the states of deliveries: there is none

_NOWHERE = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Selects closed deliveries of an account. `event_type` includes all types below it; `since` and `until` are about
    when the event was received. `missing`, which is for one webhook: also events that it takes now and has no delivery
    of, and of the closed deliveries only those of events that it takes now."""

    webhook: UUID | None = None
    event_type: str | None = None
    states: Sequence[State] = (State.DISCARDED,)
    missing: bool = False
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def stored_states(self) -> list[str]:
        """As they are stored and shown."""
        return [*([MISSING] if self.missing else []), *map(str, self.states)]


def replay_of(webhook: UUID, *, since: datetime, until: datetime | None, delivered: bool) -> Selection:
    """What a webhook did not get of the events that it takes now; with `delivered` also what it got."""
    got = [State.DELIVERED] if delivered else []
    states = [State.DISCARDED, State.CANCELLED, *got]
    return Selection(webhook=webhook, states=states, missing=True, since=since, until=until)


def selected(selection: Selection) -> list[ColumnElement[bool]]:
    """The filter for a query over deliveries. The caller adds the webhook."""
    wanted = [Delivery.state.in_(selection.states), *in_range(selection)]
    if selection.reason is not None:
        wanted.append(Delivery.reason == selection.reason)
    if selection.event_type is not None:
        # A scalar, so that no plan reads all events of a type to look a few up.
        event_type = select(Event.type).where(Event.id == Delivery.event_id).scalar_subquery()
        wanted.append((event_type + ".").startswith(f"{selection.event_type}.", autoescape=True))
    return wanted


def in_range(selection: Selection) -> list[ColumnElement[bool]]:
    """What the selection says about ids alone."""
    return between(Delivery.id, selection.since, selection.until)


class Place(NamedTuple):
    """How far a count has come: webhooks before this one, and its deliveries (of a replay: the events) up to that
    one."""

    webhook: UUID = _NOWHERE
    delivery: UUID | None = None


START = Place()


class Counted(NamedTuple):
    """What one step found, and where the next one goes on; None: there is nothing after it. `erased`: of a replay, the
    events that would match if their message had not been erased."""

    matched: int
    reached: Place | None
    erased: int = 0

    @property
    def is_complete(self) -> bool:
        return self.reached is None


def count_some(
    session: Session,
    account: UUID,
    selection: Selection,
    *,
    after: Place = START,
    closed_by: datetime | None = None,
) -> Counted:
    """Counts the next deliveries of an account that the selection takes; with `closed_by` only those that were closed
    by then."""
    webhooks = select(Webhook.id).where(
        Webhook.account_id == account, Webhook.deleted_at.is_(None), Webhook.id >= after.webhook
    )
    if selection.webhook is not None:
        webhooks = webhooks.where(Webhook.id == selection.webhook)
    each = webhooks.order_by(Webhook.id).subquery("each")
    fitting = selected(selection) if closed_by is None else [*selected(selection), Delivery.finished_at <= closed_by]
    counted = case((each.c.id == after.webhook, after.delivery or _NOWHERE), else_=_NOWHERE)
    rows = select(Delivery.id, and_(*fitting).label("fits")).where(
        Delivery.webhook_id == each.c.id, Delivery.id > counted, *in_range(selection)
    )
    if UNSUCCESSFUL.issuperset(selection.states):
        rows = rows.where(Delivery.state.in_(sorted(UNSUCCESSFUL)))
    # Ordered inside, so that it is read along the index, and no further than the limit. A webhook without deliveries is
    # a row, too.
    found = rows.order_by(Delivery.webhook_id, Delivery.id).correlate(each).lateral("found")
    looked_at = (
        select(each.c.id.label("webhook"), found.c.id.label("delivery"), found.c.fits)
        .join_from(each, found, true(), isouter=True)
        .limit(COUNTED)
        .subquery("looked_at")
    )
    last = select(
        looked_at.c.webhook,
        looked_at.c.delivery,
        func.count().over().label("looked_at"),
        func.count().filter(looked_at.c.fits).over().label("matched"),
    ).order_by(looked_at.c.webhook.desc(), looked_at.c.delivery.desc().nulls_last())
    row = session.execute(last.limit(1)).first()
    if row is None:
        return Counted(0, None)
    return Counted(row.matched, Place(row.webhook, row.delivery) if row.looked_at == COUNTED else None)
