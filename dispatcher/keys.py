"""Which accounts and API keys there are, and the end of a key. Making and checking keys: `accounts`."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dispatcher.db.models import Account, ApiKey
from dispatcher.errors import NotFound


def list_accounts(session: Session) -> Sequence[Account]:
    """Every account, by name."""
    return session.scalars(select(Account).order_by(Account.name)).all()


def list_keys(session: Session, account: Account | None = None) -> Sequence[tuple[ApiKey, str | None]]:
    """Keys with their account's name, oldest first, revoked ones too: of one account, or all with the operators'."""
    query = select(ApiKey, Account.name).outerjoin(Account, Account.id == ApiKey.account_id).order_by(ApiKey.id)
    if account is not None:
        query = query.where(ApiKey.account_id == account.id)
    return [(key, name) for key, name in session.execute(query)]


def revoke_key(session: Session, identifier: UUID) -> ApiKey:
    """Ends a key for good; revoking it again changes nothing. Raises NotFound."""
    key = session.get(ApiKey, identifier)
    if key is None:
        raise NotFound("key", identifier)
    if key.revoked_at is None:
        key.revoked_at = func.now()
        session.flush()
    return key
