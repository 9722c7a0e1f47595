"""A brand is one of our accounts, by its name: who may act for it, and the path parameters of its webhooks."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Path

from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.dialects.flexengage.errors import FLEXENGAGE
from dispatcher.dialects.frame import Owner, OwnWebhooks, own_webhooks, owner_of_name, readable_webhooks
from dispatcher.installation import Installation
from dispatcher.web.authentication import WhoMay
from dispatcher.web.serving import Served

Brand = Annotated[str, Path(alias="brandId", description="The account's name.")]
WebhookId = Annotated[str, Path(alias="id", description="A UUID.")]


def _owner_who_may(scope: Scope) -> Callable[[Caller, Installation, str], Owner]:
    def owner(caller: Annotated[Caller, Depends(WhoMay(scope))], installation: Served, brand: Brand) -> Owner:
        return owner_of_name(installation, caller, brand)

    return owner


Readable = Annotated[OwnWebhooks, readable_webhooks(FLEXENGAGE, _owner_who_may(Scope.READ))]
Manageable = Annotated[OwnWebhooks, own_webhooks(FLEXENGAGE, _owner_who_may(Scope.MANAGE))]
