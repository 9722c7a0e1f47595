"""Finds webhooks by what people have of them: their names, or ids that other things name."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from dispatcher.db.models import CircuitBreaker, Webhook


def named(session: Session, name: str, account: UUID | None) -> Sequence[Webhook]:
    """Webhooks with this name, deleted ones left out: that of the account, or some of all accounts' (None)."""
    wanted = [Webhook.name == name, Webhook.deleted_at.is_(None)]
    wanted += [Webhook.account_id == account] if account is not None else []
    return session.scalars(select(Webhook).where(*wanted).order_by(Webhook.id.desc()).limit(50)).all()


def some(session: Session, identifiers: Iterable[UUID]) -> dict[UUID, Webhook]:
    """Those of these webhooks that are not deleted, by id, whosever they are."""
    wanted = Webhook.id.in_(list(identifiers)), Webhook.deleted_at.is_(None)
    return {webhook.id: webhook for webhook in session.scalars(select(Webhook).where(*wanted))}


def failing_now(session: Session, account: UUID, *, limit: int) -> Sequence[UUID]:
    """The ids of an account's webhooks whose last request failed: those with an open circuit first, then those that
    failed most often in a row."""
    wanted = Webhook.account_id == account, Webhook.deleted_at.is_(None)
    found = select(Webhook.id).join(CircuitBreaker, CircuitBreaker.webhook_id == Webhook.id).where(*wanted)
    order = CircuitBreaker.opened_at.is_(None), CircuitBreaker.failures.desc(), Webhook.id
    return session.scalars(found.order_by(*order).limit(limit)).all()
