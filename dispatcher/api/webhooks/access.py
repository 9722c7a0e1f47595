"""Access to webhooks: by the key's scope, and by the account that owns the webhook."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Path

from dispatcher.accounts.api_keys import Caller
from dispatcher.accounts.owners import owner_of_webhook
from dispatcher.db.models import Account
from dispatcher.installation import Installation
from dispatcher.web.ownership import owner_for
from dispatcher.web.problems import Problem

WebhookId = Annotated[UUID, Path(description="The webhook's id.")]


def owner_of(installation: Installation, caller: Caller, webhook_id: UUID) -> Account:
    """The account that must own the webhook for this caller to find it. Raises NotFound."""
    with installation.transaction() as session:
        return owner_for(session, caller, owner_of_webhook, webhook_id)


def is_url_verified(caller: Caller, *, skip: bool) -> bool:
    """Whether to do the URL verification where it applies. Raises Problem 403 for a caller that may not skip it."""
    if skip and not caller.is_operator:
        raise Problem(HTTPStatus.FORBIDDEN, "only an operator's key may skip the URL verification")
    return not skip
