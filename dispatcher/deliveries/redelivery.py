"""What a person can do to a delivery: redeliver or cancel it, or make one by sending an event to a webhook. Every
change requires the owner."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, exists, func, select, update
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import ERASED, Account, Delivery, Event, Webhook
from dispatcher.deliveries.deaths import ALONE, SUSPECT
from dispatcher.deliveries.history import find_delivery
from dispatcher.deliveries.opening import open_missing, opened, refuse_unsendable, retry_span_in
from dispatcher.errors import NotFound, WrongState
from dispatcher.states import CLOSED, TRANSITIONS, State
from schedules.timing import Timing

_REOPENED_FROM = [state for state in CLOSED if State.READY in TRANSITIONS[state]]
_ACCOUNT_NO = select(Account.number).where(Account.id == Webhook.account_id).scalar_subquery()
_CANCELLED_FROM = [state for state, targets in TRANSITIONS.items() if State.CANCELLED in targets]


def redeliver(session: Session, account: Account, delivery_id: UUID, timing: Timing, *, by: Actor) -> None:
    """Opens a closed delivery again: due now, with its schedule from the start; attempt numbers continue. An open
    circuit does not hold its next attempt back.

    The caller commits, then wakes the workers. Raises NotFound, or WrongState for a delivery that is still open, whose
    webhook was deleted or whose event is no longer kept or was erased. Of two calls at once, one succeeds.
    """
    wanted = Delivery.id == delivery_id, Webhook.account_id == account.id
    if not reopen(session, *wanted, timing=timing, bypasses_circuit=True):
        raise WrongState(_why_not_redelivered(_current(session, account, delivery_id)))
    audit.write(session, by, Action.DELIVERY_REDELIVERED, delivery_id, account=account.id, detail={})


class Sent(NamedTuple):
    """The delivery of an event to a webhook. `is_opened`: it was opened now; otherwise it was on its way already."""

    delivery_id: UUID
    is_opened: bool


def send_to(session: Session, account: Account, event_id: UUID, webhook_id: UUID, timing: Timing, *, by: Actor) -> Sent:
    """Sends one of the account's events to one of its webhooks, whatever event types that takes, and though the event
    may have expired. A closed delivery is redelivered; one that is still open stays as it is.

    The caller commits, then wakes the workers. Raises NotFound, AccountSuspended, or WrongState: the webhook is
    disabled, quarantined or of another app, or the event's message was erased.
    """
    webhook = session.get(Webhook, webhook_id)
    if webhook is None or webhook.account_id != account.id or webhook.deleted_at is not None:
        raise NotFound("webhook", webhook_id)
    event = session.execute(
        select(Event.app, Event.codec).where(Event.id == event_id, Event.account_id == account.id)
    ).first()
    if event is None:
        raise NotFound("event", event_id)
    refuse_unsendable(account, webhook)
    if webhook.app not in {None, event.app}:
        raise WrongState("the webhook takes only events of its own app, and the event is not of that")
    if event.codec == ERASED:
        raise WrongState("the event's message was erased: there is nothing to send")
    for delivery_id in open_missing(session, webhook_id, [event_id], timing, bypasses_circuit=True):
        detail = {"event": str(event_id), "webhook": str(webhook_id)}
        audit.write(session, by, Action.DELIVERY_CREATED, delivery_id, account=account.id, detail=detail)
        return Sent(delivery_id, is_opened=True)
    existing = find_delivery(session, account, webhook_id, event_id)
    if not reopen(session, Delivery.id == existing, timing=timing, bypasses_circuit=True):
        if (current := _current(session, account, existing)).state in _REOPENED_FROM:
            raise WrongState(_why_not_redelivered(current))  # erased or deleted at this moment
        return Sent(existing, is_opened=False)
    audit.write(session, by, Action.DELIVERY_REDELIVERED, existing, account=account.id, detail={})
    return Sent(existing, is_opened=True)


def reopen(session: Session, *wanted: ColumnElement[bool], timing: Timing, bypasses_circuit: bool) -> Sequence[UUID]:
    """Opens those of the wanted deliveries that are closed and whose webhook and message still exist. Returns
    their ids. `bypasses_circuit`: an open circuit does not hold the next attempt back."""
    statement = (
        update(Delivery)
        .where(
            *wanted,
            Delivery.state.in_(_REOPENED_FROM),
            Webhook.id == Delivery.webhook_id,
            Webhook.deleted_at.is_(None),
            exists().where(Event.id == Delivery.event_id, Event.codec != ERASED),
        )
        .values(
            **opened(retry_span_in(timing), bypasses_circuit=bypasses_circuit),
            account_no=_ACCOUNT_NO,  # a version before may have stored it without
            reason=None,
            schedule_step=0,
            unknown_in_a_row=0,
            deaths=case((Delivery.deaths >= SUSPECT, ALONE), else_=0),  # what killed workers is tried alone again
            batch_limit=None,
            claimed_by=None,
            claimed_until=None,
            finished_at=None,
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).all()


def cancel(session: Session, account: Account, delivery_id: UUID, *, by: Actor) -> None:
    """Ends a delivery that waits for its next attempt. Raises NotFound, or WrongState for one that is being attempted
    at this moment or is closed already."""
    cancelled = session.execute(
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            Delivery.state.in_(_CANCELLED_FROM),
            Webhook.id == Delivery.webhook_id,
            Webhook.account_id == account.id,
        )
        .values(state=State.CANCELLED, reason=None, finished_at=func.now())
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    ).first()
    if cancelled is None:
        raise WrongState(_why_not_cancelled(_current(session, account, delivery_id).state))
    audit.write(session, by, Action.DELIVERY_CANCELLED, delivery_id, account=account.id, detail={})


def send_at_once(session: Session, account: Account, delivery_id: UUID, timing: Timing, *, by: Actor) -> None:
    """Sends a delivery again: one that waits is cancelled first, and does not wait any more. Otherwise as `redeliver`.
    Raises NotFound and WrongState."""
    if _current(session, account, delivery_id).state in _CANCELLED_FROM:
        cancel(session, account, delivery_id, by=by)
    redeliver(session, account, delivery_id, timing, by=by)


def _current(session: Session, account: Account, delivery_id: UUID) -> Row[str, datetime | None]:
    found = session.execute(
        select(Delivery.state, Webhook.deleted_at)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.id == delivery_id, Webhook.account_id == account.id)
    ).first()
    if found is None:
        raise NotFound("delivery", delivery_id)
    return found


def _why_not_redelivered(current: Row[str, datetime | None]) -> str:
    if current.state not in _REOPENED_FROM:
        what = (
            "cancel it first to send it at once"
            if current.state == State.WAITING
            else "only a closed one can be redelivered"
        )
        return f"the delivery is {current.state}, so still on its way: {what}"
    if current.deleted_at is not None:
        return "the delivery's webhook was deleted: there is nowhere to send it"
    return "the delivery's event is no longer kept, or its message was erased: there is nothing to send"


def _why_not_cancelled(state: str) -> str:
    if state == State.CLAIMED:
        return "an attempt of the delivery is being made at this moment: try again when it has ended"
    if state in _CANCELLED_FROM:
        return "the delivery changed while it was being cancelled: try again"
    return f"the delivery is {state} already: only an open one can be cancelled"
