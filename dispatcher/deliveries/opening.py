"""How a delivery is opened: ready, due now, with the whole retry span of its webhook ahead. New events, redeliveries
and test events all use this, and so does an event that is sent to a webhook which has no delivery of it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, Text, Uuid, any_, cast, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from dispatcher.db.arrays import array
from dispatcher.db.models import ERASED, Account, Attempt, Delivery, Event, Webhook
from dispatcher.errors import AccountSuspended, WrongState
from dispatcher.states import State
from schedules.timing import Timing


def opened(retry_span: ColumnElement[timedelta] | timedelta, *, bypasses_circuit: bool) -> dict[str, Any]:
    """The columns of an open delivery and their values. `retry_span` is the webhook's, in the installation's time
    scale; `bypasses_circuit`: an open circuit does not hold the next attempt back."""
    return {
        "state": State.READY,
        "due_at": func.now(),
        "give_up_at": func.now() + retry_span,
        "bypasses_circuit": bypasses_circuit,
    }


def retry_span_in(timing: Timing) -> ColumnElement[timedelta]:
    """The retry span of a query's webhook, in the installation's time scale."""
    return Webhook.retry_span.op("*", return_type=Interval())(timing.scale)


def delivery_id(event: str, webhook: str) -> str:
    """SQL for the id of the delivery of one event to one webhook, of SQL for their ids. It is the one that `store_v1`
    gives it: so its time is its event's, and whatever is left of a delivery that is no longer kept is found by it."""
    both = f"uuid_hash_extended({event}, uuid_hash_extended({webhook}, 0))"
    return f"encode(overlay(uuid_send({event}) PLACING substring(int8send({both}) FROM 2) FROM 10), 'hex')::uuid"


def refuse_unsendable(account: Account, webhook: Webhook) -> None:
    """Raises AccountSuspended, or WrongState, where what is opened for a webhook of the account would not be sent."""
    if account.suspended_at is not None:
        raise AccountSuspended(account.name)
    if not webhook.enabled:
        raise WrongState("the webhook is disabled: nothing is sent to it until it is enabled")
    if webhook.quarantined_at is not None:
        raise WrongState(f"the webhook is quarantined: {webhook.quarantined_reason}")


def open_missing(
    session: Session, webhook: UUID, events: Sequence[UUID], timing: Timing, *, bypasses_circuit: bool
) -> Sequence[UUID]:
    """Opens a delivery of each of these events, which are of the webhook's account, to a webhook; where there is one
    already, by whomever it was made meanwhile, it stays as it is. Events that are no longer kept or were erased, and a
    deleted webhook, are passed by. Returns the ids of the new ones."""
    identifier = literal_column(delivery_id("dispatcher.events.id", "dispatcher.webhooks.id"), Uuid())
    # Attempts can be kept for longer than their delivery: their numbers go on.
    last_number = select(Attempt.number).where(Attempt.delivery_id == identifier)
    values = {
        "id": identifier,
        "event_id": Event.id,
        "webhook_id": Webhook.id,
        "account_no": Account.number,
        "size": func.octet_length(Event.data),
        "attempt_count": func.coalesce(last_number.order_by(Attempt.number.desc()).limit(1).scalar_subquery(), 0),
        **opened(retry_span_in(timing), bypasses_circuit=bypasses_circuit),
    }
    query = (
        select(*(literal(value) if isinstance(value, str | int) else value for value in values.values()))
        .select_from(Event)
        .join(Webhook, Webhook.id == webhook)
        .join(Account, Account.id == Webhook.account_id)
        .where(one_of(Event.id, events), Event.codec != ERASED, Webhook.deleted_at.is_(None))
        .order_by(Event.id)
    )
    made = insert(Delivery).from_select(list(values), query).on_conflict_do_nothing().returning(Delivery.id)
    return session.scalars(made).all()


def one_of(column: ColumnElement[UUID] | InstrumentedAttribute[UUID], ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Whether a column of ids is one of these."""
    return column == any_(cast(literal(array(ids), Text), ARRAY(Uuid)))
