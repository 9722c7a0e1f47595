"""The account of a webhook, event, delivery, notice or bulk redelivery: for operators, who have its id but no account.

All functions raise NotFound.
"""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from dispatcher.db.models import Account, BulkRedelivery, Delivery, Event, Notice, Webhook
from dispatcher.errors import NotFound


def owner_of_webhook(session: Session, webhook_id: UUID) -> Account:
    """The account of a webhook, even if it is deleted."""
    return _the_owner(session, "webhook", webhook_id, _ACCOUNT_OF_WEBHOOK.where(Webhook.id == webhook_id))


def accounts_of_webhooks(session: Session, webhooks: Collection[UUID]) -> Mapping[UUID, str]:
    """The names of the accounts of these webhooks, by webhook, deleted ones included."""
    query = select(Webhook.id, Account.name).join(Account, Account.id == Webhook.account_id)
    return {row.id: row.name for row in session.execute(query.where(Webhook.id.in_(webhooks)))}


def owner_of_event(session: Session, event_id: UUID) -> Account:
    """The account that an event was enqueued for."""
    query = select(Account).join(Event, Event.account_id == Account.id).where(Event.id == event_id)
    return _the_owner(session, "event", event_id, query)


def owner_of_delivery(session: Session, delivery_id: UUID) -> Account:
    """The account of the webhook that a delivery goes to."""
    query = _ACCOUNT_OF_WEBHOOK.join(Delivery, Delivery.webhook_id == Webhook.id).where(Delivery.id == delivery_id)
    return _the_owner(session, "delivery", delivery_id, query)


def owner_of_notice(session: Session, notice_id: UUID) -> Account:
    """The account of the webhook that a notice is about."""
    query = _ACCOUNT_OF_WEBHOOK.join(Notice, Notice.webhook_id == Webhook.id).where(Notice.id == notice_id)
    return _the_owner(session, "notice", notice_id, query)


def owner_of_redelivery(session: Session, redelivery_id: UUID) -> Account:
    """The account that a bulk redelivery was ordered for."""
    query = select(Account).join(BulkRedelivery, BulkRedelivery.account_id == Account.id)
    return _the_owner(session, "bulk redelivery", redelivery_id, query.where(BulkRedelivery.id == redelivery_id))


_ACCOUNT_OF_WEBHOOK = select(Account).join(Webhook, Webhook.account_id == Account.id)


def _the_owner(session: Session, kind: str, identifier: UUID, query: Select[Any]) -> Account:
    owner: Account | None = session.scalar(query)
    if owner is None:
        raise NotFound(kind, identifier)
    return owner
