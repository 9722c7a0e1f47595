"""Suspends, resumes and deletes accounts.

`suspended_at` is the one place that says so: `enqueue`, API keys, claims, bulk redeliveries and notices each look at it
when they would act for the account. Nothing else changes, so resuming needs to undo nothing. A deleted account is
suspended for ever, and cannot be found by its name; `workers/maintenance/account_deletion.py` removes what it has.
"""

from typing import NamedTuple

from sqlalchemy import func, select, true, update
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.accounts import NAME_RULE, is_name
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, ApiKey, Delivery, Webhook
from dispatcher.errors import InvalidAccount, WrongState

COUNTED = 100_000  # of each kind, at most


def suspend(session: Session, account: Account, *, by: Actor, reason: str | None = None) -> None:
    """From the commit on, no event is taken, nothing more is sent, and its keys are refused. Its open deliveries wait.
    Suspending it again changes nothing. `reason` goes into the audit log. Raises InvalidAccount for one that cannot be
    shown."""
    _check_reason(reason)
    _lock(session, account)
    if account.suspended_at is None:
        account.suspended_at = func.now()
        _note(session, account, by, Action.ACCOUNT_SUSPENDED, reason)


def resume(session: Session, account: Account, *, by: Actor, reason: str | None = None) -> None:
    """Ends a suspension: what is due by then is sent at once. Resuming an account that is not suspended changes
    nothing. The caller commits, then wakes the workers. `reason` is as for `suspend`. Raises InvalidAccount, and
    WrongState for one that is being deleted."""
    _check_reason(reason)
    _lock(session, account)
    if account.deleted_at is not None:
        raise WrongState(f"the account {account.name!r} is being deleted")
    if account.suspended_at is not None:
        account.suspended_at = None
        _note(session, account, by, Action.ACCOUNT_RESUMED, reason)


def delete(session: Session, account: Account, *, by: Actor) -> None:
    """Deletes an account for good: from the commit on it is as if suspended, and its keys are revoked. Upkeep removes
    its webhooks and deliveries in steps, and the account last; until then its name is in use. Deleting it again changes
    nothing."""
    _lock(session, account)
    if account.deleted_at is None:
        account.deleted_at = func.now()
        account.suspended_at = func.coalesce(Account.suspended_at, func.now())
        keys = update(ApiKey).where(ApiKey.account_id == account.id, ApiKey.revoked_at.is_(None))
        session.execute(keys.values(revoked_at=func.now()))
        _note(session, account, by, Action.ACCOUNT_DELETED)


class Contents(NamedTuple):
    """What an account has, each counted up to COUNTED."""

    webhooks: int  # those not deleted, unless the account is being deleted
    deliveries: int  # in any state


def contents_of(session: Session, account: Account) -> Contents:
    """What would be removed with the account, or is still to be removed."""
    of_account = select(Webhook.id).where(Webhook.account_id == account.id)
    webhooks = of_account.where(Webhook.deleted_at.is_(None)) if account.deleted_at is None else of_account
    each = of_account.subquery()
    found = select(Delivery.id).where(Delivery.webhook_id == each.c.id).correlate(each).offset(0)
    deliveries = select(each.c.id).join(found.lateral(), true())
    counts = [select(func.count()).select_from(query.limit(COUNTED).subquery()) for query in (webhooks, deliveries)]
    return Contents(*(session.scalars(count).one() for count in counts))


def _lock(session: Session, account: Account) -> None:
    # Of two at once, one takes effect. Its rows can be written meanwhile: their foreign keys only need its id.
    session.refresh(account, with_for_update={"key_share": True})


def _check_reason(reason: str | None) -> None:
    if reason is not None and not is_name(reason):
        raise InvalidAccount("reason", NAME_RULE)


def _note(session: Session, account: Account, by: Actor, action: Action, reason: str | None = None) -> None:
    session.flush()
    session.refresh(account)
    detail = {"name": account.name} | ({"reason": reason} if reason is not None else {})
    audit.write(session, by, action, account.id, account=account.id, detail=detail)


def why_suspended(session: Session, account: Account) -> str | None:
    """The reason that was given when it was suspended last; None if none was, or it is no longer kept."""
    (entries, _) = audit.list_entries(session, target=account.id, action=Action.ACCOUNT_SUSPENDED, limit=1)
    return entries[0][0].detail.get("reason") if entries else None
