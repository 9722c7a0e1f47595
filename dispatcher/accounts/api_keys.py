"""Which accounts and API keys there are, and the end of a key. Making and checking keys: `accounts`."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, ApiKey
from dispatcher.errors import NotFound


def list_accounts(session: Session) -> Sequence[Account]:
    """Every account, by name."""
    return session.scalars(select(Account).order_by(Account.name)).all()


def accounts_page(session: Session, *, before: UUID | None, limit: int) -> Sequence[Account]:
    """Some accounts, newest first; `before` is the last id of the page before."""
    query = select(Account).order_by(Account.id.desc()).limit(limit)
    return session.scalars(query.where(Account.id < before) if before is not None else query).all()


def list_keys(session: Session, account: Account | None = None) -> Sequence[tuple[ApiKey, str | None]]:
    """Keys with their account's name, oldest first, revoked ones too: of one account, or all with the operators'."""
    query = select(ApiKey, Account.name).outerjoin(Account, Account.id == ApiKey.account_id).order_by(ApiKey.id)
    if account is not None:
        query = query.where(ApiKey.account_id == account.id)
    return [(key, name) for key, name in session.execute(query)]


def keys_page(
    session: Session, account: Account | None, *, before: UUID | None, limit: int
) -> Sequence[tuple[ApiKey, str | None]]:
    """Some keys with their account's name, newest first, of one account or all."""
    query = select(ApiKey, Account.name).outerjoin(Account, Account.id == ApiKey.account_id)
    if account is not None:
        query = query.where(ApiKey.account_id == account.id)
    if before is not None:
        query = query.where(ApiKey.id < before)
    return [(key, name) for key, name in session.execute(query.order_by(ApiKey.id.desc()).limit(limit))]


def get_key(session: Session, identifier: UUID) -> ApiKey:
    """Raises NotFound."""
    key = session.get(ApiKey, identifier)
    if key is None:
        raise NotFound("key", identifier)
    return key


def revoke_key(session: Session, identifier: UUID, *, by: Actor) -> ApiKey:
    """Ends a key for good; revoking it again changes nothing. Raises NotFound."""
    key = get_key(session, identifier)
    session.refresh(key, with_for_update=True)  # of two who revoke it at once, one does
    if key.revoked_at is None:
        key.revoked_at = func.now()
        session.flush()
        audit.write(session, by, Action.KEY_REVOKED, key.id, account=key.account_id, detail={"name": key.name})
    return key
