"""Suspends and resumes accounts.

`suspended_at` is the one place that says so: `enqueue`, API keys, claims, bulk redeliveries and notices each look at it
when they would act for the account. Nothing else changes, so resuming needs to undo nothing.
"""

from sqlalchemy import func
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account


def suspend(session: Session, account: Account, *, by: Actor) -> None:
    """From the commit on, no event is taken, nothing more is sent, and its keys are refused. Its open deliveries wait.
    Suspending it again changes nothing."""
    _lock(session, account)
    if account.suspended_at is None:
        account.suspended_at = func.now()
        _note(session, account, by, Action.ACCOUNT_SUSPENDED)


def resume(session: Session, account: Account, *, by: Actor) -> None:
    """Ends a suspension: what is due by then is sent at once. Resuming an account that is not suspended changes
    nothing. The caller commits, then wakes the workers."""
    _lock(session, account)
    if account.suspended_at is not None:
        account.suspended_at = None
        _note(session, account, by, Action.ACCOUNT_RESUMED)


def _lock(session: Session, account: Account) -> None:
    # Of two at once, one takes effect. Its rows can be written meanwhile: their foreign keys only need its id.
    session.refresh(account, with_for_update={"key_share": True})


def _note(session: Session, account: Account, by: Actor, action: Action) -> None:
    session.flush()
    session.refresh(account)
    audit.write(session, by, action, account.id, account=account.id, detail={"name": account.name})
