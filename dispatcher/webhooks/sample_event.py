"""The test event: a sample event to one webhook, through the path that every event takes."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, Delivery, Event
from dispatcher.deliveries.opening import opened, refuse_unsendable
from dispatcher.event_types import TEST
from dispatcher.events.event import Event as GivenEvent
from dispatcher.events.event import check, serialise
from dispatcher.installation import Installation
from dispatcher.webhooks.store import Webhooks

DATA = b'{"test":true,"text":"This is a test event."}'


class Called(NamedTuple):
    """What was stored."""

    event_id: UUID
    delivery_id: UUID


def call_webhook(
    installation: Installation,
    account_id: UUID,
    webhook_id: UUID,
    *,
    by: Actor,
    event_type: str = TEST,
    data: bytes = DATA,
) -> Called:
    """Stores an event (`data` is JSON) with one delivery, to this webhook, whatever event types it takes, and wakes
    the workers. An open circuit does not hold its first attempt back.

    Raises InvalidEvent, NotFound, AccountSuspended, or WrongState for a webhook that is disabled or quarantined.
    """
    with installation.transaction() as session:
        account = session.get_one(Account, account_id)
        given = GivenEvent(type=event_type, data=data, account=account.name)
        check(given)
        called = _store(installation, session, account, webhook_id, given)
        detail = {"type": event_type, "event": str(called.event_id), "delivery": str(called.delivery_id)}
        audit.write(session, by, Action.WEBHOOK_TESTED, webhook_id, account=account.id, detail=detail)
    installation.waker.wake()
    return called


def _store(
    installation: Installation, session: Session, account: Account, webhook_id: UUID, given: GivenEvent
) -> Called:
    data = serialise(given.data)
    webhook = Webhooks(session, installation).get(account, webhook_id)
    refuse_unsendable(account, webhook)
    called = Called(event_id=installation.clock.new_id(), delivery_id=installation.clock.new_id())
    event = Event(
        id=called.event_id,
        account_id=account.id,
        app=webhook.app,
        type=given.type,
        occurred_at=func.now(),
        delivery_count=1,
        data=data,
    )
    delivery = Delivery(
        id=called.delivery_id,
        event_id=called.event_id,
        webhook_id=webhook.id,
        account_no=account.number,
        size=len(data),
        **opened(installation.timing.span(webhook.retry_span), bypasses_circuit=True),
    )
    session.add_all([event, delivery])
    return called
