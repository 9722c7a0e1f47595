"""`/v1/accounts/{name}/limits`: what an account may have and do, for operators."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.limits import own_limits, set_limits
from dispatcher.api.accounts import AccountName
from dispatcher.db.models import Account
from dispatcher.errors import NotFound, UnknownAccount
from dispatcher.settings.quotas import KINDS, MOST, Limits, Quota, limits_of
from dispatcher.web.authentication import By, Observer, Operator
from dispatcher.web.bodies import Body, body_as, described_body
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served, Shared

# Before the router of accounts, whose names may contain slashes.
router = APIRouter(prefix="/v1", tags=["accounts and keys"])


_MEMBERS: dict[str, Any] = {
    str(quota): (Annotated[int | None, Field(ge=1, le=MOST, description=kind.unit)], None)
    for quota, kind in KINDS.items()
}
OwnLimits: Any = create_model(
    "OwnLimits", __base__=Body, __doc__="The limits of one account; null is no limit.", **_MEMBERS
)


class LimitsDocument(BaseModel):
    """What an account may have and do."""

    account: str
    own: Annotated[
        dict[Quota, int | None],
        Field(description="Those that were set for this account; the others are the installation's."),
    ]
    limits: Annotated[dict[Quota, int | None], Field(description="All of them as they hold. Null is no limit.")]


@router.get(
    "/accounts/{name:path}/limits",
    operation_id="get_account_limits",
    summary="Show the limits of an account",
    description="`own` are those that were set for it, `limits` all as they hold. Null is no limit. The account itself "
    "sees them, with what it has used, with `GET /v1/usage`.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_limits(_: Observer, installation: Served, name: AccountName) -> LimitsDocument:
    with installation.transaction() as session:
        return _document(_named(session, name), installation.settings.default_limits)


@router.put(
    "/accounts/{name:path}/limits",
    operation_id="set_account_limits",
    summary="Set the limits of an account",
    description="The account then has these limits of its own; those that are left out are the installation's. Null is "
    "no limit. What it has above a new limit it keeps. Other API processes may use the limits from before for 5 more "
    "seconds, workers for 10.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, body=True),
    openapi_extra=described_body(OwnLimits),
)
def put_limits(
    _: Operator, serving: Shared, by: By, name: AccountName, new: Annotated[Any, body_as(OwnLimits)]
) -> LimitsDocument:
    given = {Quota(member): getattr(new, member) for member in new.model_fields_set}
    with serving.installation.transaction() as session:
        account = _named(session, name)
        set_limits(session, account, by=by, new=given)
        document = _document(account, serving.installation.settings.default_limits)
    serving.known_callers.forget()
    return document


def _document(account: Account, defaults: Limits) -> LimitsDocument:
    limits = limits_of(account.limits, defaults)
    return LimitsDocument(account=account.name, own=own_limits(account), limits=limits)


def _named(session: Session, name: str) -> Account:
    try:
        return find_account(session, name)
    except UnknownAccount:
        raise NotFound("account", name) from None  # the path's own thing: 404, not a field that is refused
