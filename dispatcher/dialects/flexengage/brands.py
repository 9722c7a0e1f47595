"""A brand is an account of ours, by its name: who may act for it, and its webhooks; all that is not there is 404."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from uuid import UUID

from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Caller
from dispatcher.db.models import Account, Webhook
from dispatcher.errors import NotFound, UnknownAccount
from dispatcher.web.problems import Problem
from dispatcher.webhooks.store import Webhooks

DIALECT = "flexengage"


@contextmanager
def found_or(description: str) -> Iterator[None]:
    """Within, what is not found is Problem 404 in the vendor's words for this call."""
    try:
        yield
    except NotFound:
        raise Problem(HTTPStatus.NOT_FOUND, description) from None


def account_of(session: Session, caller: Caller, brand: str) -> Account:
    """Raises UnknownAccount; for the brand of others, too, so that nobody learns which there are."""
    if caller.account not in {None, brand}:
        raise UnknownAccount(brand)
    return find_account(session, brand)


def webhook_of(webhooks: Webhooks, account: Account, identifier: str) -> Webhook:
    """Raises NotFound; for what is no UUID, too."""
    return webhooks.get_of(DIALECT, account, read_id("webhook", identifier))


def read_id(kind: str, identifier: str) -> UUID:
    """Raises NotFound for what is no UUID."""
    try:
        return UUID(identifier)
    except ValueError:
        raise NotFound(kind, identifier) from None
