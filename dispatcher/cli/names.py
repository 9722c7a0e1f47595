"""Finds an account, a webhook or a key by its id, or by its name if that is unambiguous."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account, is_name
from dispatcher.db.models import Account, ApiKey, Webhook
from dispatcher.errors import Conflict, NotFound, UnknownAccount
from dispatcher.installation import Installation

_MOST_NAMED = 10


def account_of(session: Session, text: str, *, deleted: bool = False) -> Account:
    """The account with this name, or else with this id; with `deleted` also one that is being deleted. Raises
    UnknownAccount, with a note that says what to do."""
    try:
        return find_account(session, text, deleted=deleted)
    except UnknownAccount as unknown:
        identifier = _identifier(text)
        account = session.get(Account, identifier) if identifier is not None else None
        if account is None or (account.deleted_at is not None and not deleted):
            unknown.add_note(_accounts_here(session))
            raise
        return account


def _accounts_here(session: Session) -> str:
    names = session.scalars(
        select(Account.name).where(Account.deleted_at.is_(None)).order_by(Account.name).limit(_MOST_NAMED + 1)
    ).all()
    if not names:
        known = "There are no accounts yet."
    elif len(names) > _MOST_NAMED:
        known = "`dispatcher account list` lists the accounts."
    else:
        known = f"The accounts are: {', '.join(names)}."
    return f"{known} `dispatcher account create NAME` makes one."


def webhook_id(installation: Installation, text: str, account: str | None = None) -> UUID:
    """The id of a webhook. An id is returned without a look into the database; a name is looked up in the account or
    in all accounts. Raises NotFound, and Conflict if several accounts have a webhook with this name."""
    if (identifier := _identifier(text)) is not None:
        return identifier
    with installation.transaction() as session:
        query = select(Webhook.id, Account.name).join(Account, Account.id == Webhook.account_id).order_by(Account.name)
        query = query.where(Webhook.name == text, Webhook.deleted_at.is_(None))
        if account is not None:
            query = query.where(Account.id == account_of(session, account).id)
        found = session.execute(query).all() if is_name(text) else []
    return _the_only("webhook", text, [(owner, identifier) for identifier, owner in found], "--account, or the id")


def key_id(session: Session, text: str) -> UUID:
    """The id of a key. An id is returned without a look into the database; a name is looked up among the keys that are
    not revoked. Raises NotFound, and Conflict if several have this name."""
    if (identifier := _identifier(text)) is not None:
        return identifier
    query = select(Account.name, ApiKey.id).select_from(ApiKey).outerjoin(Account, Account.id == ApiKey.account_id)
    query = query.where(ApiKey.name == text, ApiKey.revoked_at.is_(None)).order_by(ApiKey.id)
    found = (
        [(owner or "the operator", identifier) for owner, identifier in session.execute(query)] if is_name(text) else []
    )
    return _the_only("key", text, found, "the id")


def _the_only(kind: str, name: str, found: list[tuple[str, UUID]], remedy: str) -> UUID:
    if not found:
        unknown = NotFound(kind, name)
        unknown.add_note(f"`dispatcher {kind} list` lists the {kind}s.")
        raise unknown
    if len(found) > 1:
        candidates = ", ".join(f"{identifier} of {owner}" for owner, identifier in found[:_MOST_NAMED])
        more = ", ..." if len(found) > _MOST_NAMED else ""
        raise Conflict(f"there are {len(found)} {kind}s {name!r}: {candidates}{more}; give {remedy}")
    return found[0][1]


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
