"""Accounts: who owns webhooks and events."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account
from dispatcher.errors import InvalidAccount, NameTaken, NotFound, UnknownAccount
from dispatcher.ids import new_id


def create_account(session: Session, name: str, *, by: Actor) -> Account:
    """Raises InvalidAccount for a bad name and NameTaken for one in use."""
    if not is_name(name):
        raise InvalidAccount("name", NAME_RULE)
    account = Account(id=new_id(), name=name)
    session.add(account)
    try:
        session.flush()
    except IntegrityError:
        raise NameTaken(f"there is already an account {name!r}") from None
    audit.write(session, by, Action.ACCOUNT_CREATED, account.id, account=account.id, detail={"name": name})
    return account


def find_account(session: Session, name: str, *, deleted: bool = False) -> Account:
    """With `deleted` also one that is being deleted. Raises UnknownAccount."""
    # An impossible name is not looked up: for NUL and lone surrogates the driver would raise errors of another kind.
    account = session.scalar(select(Account).where(Account.name == name)) if is_name(name) else None
    if account is None or (account.deleted_at is not None and not deleted):
        raise UnknownAccount(name)
    return account


def get_account(session: Session, identifier: UUID) -> Account:
    """By its id, also one that is being deleted. Raises NotFound."""
    account = session.get(Account, identifier)
    if account is None:
        raise NotFound("account", identifier)
    return account


NAME_RULE = "must have 1 to 255 printable characters and no space at either end"


def is_name(name: str) -> bool:
    return 1 <= len(name) <= 255 and name.isprintable() and name == name.strip()


def accounts_page(session: Session, *, before: UUID | None, limit: int) -> Sequence[Account]:
    """Some accounts, newest first, also those that are being deleted; `before` is the last id of the previous page."""
    query = select(Account).order_by(Account.id.desc()).limit(limit)
    return session.scalars(query.where(Account.id < before) if before is not None else query).all()
