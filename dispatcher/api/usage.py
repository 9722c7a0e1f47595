"""`GET /v1/usage`: an account's limits, and what it has used of them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from dispatcher.accounts.usage import COUNTED, use_of
from dispatcher.settings.quotas import Quota, limits_of
from dispatcher.web.authentication import Reader
from dispatcher.web.ownership import AccountQuery, account_of
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Shared

router = APIRouter(prefix="/v1", tags=["installation"])


class UseDocument(BaseModel):
    """One limit."""

    model_config = ConfigDict(from_attributes=True)

    quota: Annotated[Quota, Field(description="The limit's name.")]
    unit: Annotated[str, Field(description="What is counted: it goes on after the number.")]
    limit: Annotated[int | None, Field(description="Null is no limit.")]
    used: Annotated[
        int | None,
        Field(
            description=f"Up to {COUNTED:,} of a number of things. Of a rate, what has not flowed back yet. Null: not "
            "known, because the rate has no limit, or because nothing was counted yet."
        ),
    ]
    counted_at: Annotated[datetime | None, Field(description="`used` as it was then; null: as it is now.")]


class UsageDocument(BaseModel):
    """What an account may have and do, and what it has used."""

    account: str
    quotas: list[UseDocument]


@router.get(
    "/usage",
    operation_id="get_usage",
    summary="Show the account's limits, and what it has used of them",
    description="Above a limit of a rate, requests are answered with 429 and `Retry-After`; above one of a number of "
    "things, with 409. An operator sets the limits.",
    responses=usual_problems(),
)
def get_usage(caller: Reader, serving: Shared, *, account: AccountQuery = None) -> UsageDocument:
    defaults = serving.installation.settings.default_limits
    with serving.installation.transaction() as session:
        owner = account_of(session, caller, account)
    rates = serving.rates.used(owner.id, limits_of(owner.limits, defaults))
    with serving.installation.transaction() as session:
        uses = use_of(session, owner, defaults, rates)
    return UsageDocument(account=owner.name, quotas=list(map(UseDocument.model_validate, uses)))
