"""Which account a request is about: the key's own; with an operator's key the one it names, or the thing's owner."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Caller
from dispatcher.accounts.owners import owner_of_event, owner_of_webhook
from dispatcher.db.models import Account
from dispatcher.web.problems import Problem, invalid

Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
AccountQuery = Annotated[Name | None, Query(description="Only with an operator's key, and then required.")]


def account_of(
    session: Session, caller: Caller, named: str | None, *, webhook: UUID | None = None, event: UUID | None = None
) -> Account:
    """The caller's account. An operator's key must name one, unless the request is about a webhook or an event: then it
    is the owner of that. Raises Problem 422 and 403, and NotFound."""
    if caller.account_id is None and named is None:
        if webhook is not None:
            return owner_of_webhook(session, webhook)
        if event is not None:
            return owner_of_event(session, event)
    return find_account(session, account_named(caller, named))


def account_named(caller: Caller, named: str | None) -> str:
    """The name of the caller's account; an operator's key must give one. Raises Problem 422 and 403."""
    if caller.account is None:
        if named is None:
            raise invalid(("account", "is required with an operator's key"))
        return named
    if named not in {None, caller.account}:
        reason = "the API key is another account's"
        raise Problem(HTTPStatus.FORBIDDEN, reason, errors=[("account", "is not the API key's")])
    return caller.account


def owner_for(session: Session, caller: Caller, find: Callable[[Session, UUID], Account], identifier: UUID) -> Account:
    """The account that a thing must belong to for this caller to find it by its id: the caller's own. An operator finds
    every thing: then it is the thing's owner, by `find`. Raises NotFound."""
    if caller.account_id is None:
        return find(session, identifier)
    return session.get_one(Account, caller.account_id)
