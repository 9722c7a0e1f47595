"""`/v1/accounts` and `/v1/keys`, for operators: accounts, and the API keys that act for them."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import accounts_page, create_account, find_account
from dispatcher.accounts.api_keys import Scope, create_key, get_key, keys_page, revoke_key, shown_key
from dispatcher.accounts.lifecycle import COUNTED, contents_of, delete, resume, suspend
from dispatcher.db.models import Account
from dispatcher.errors import NotFound, UnknownAccount
from dispatcher.web.authentication import By, Observer, Operator
from dispatcher.web.bodies import SECRET, Body, body_as, described_body
from dispatcher.web.ownership import Name
from dispatcher.web.pagination import Cursor, Limit, Page, page_of, read_cursor
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served, Shared

router = APIRouter(prefix="/v1", tags=["accounts and keys"])

AccountName = Annotated[Name, Path(description="The account's name.")]
OfAccount = Annotated[Name | None, Query(description="Only the keys of this account.")]


class NewAccount(Body):
    """An account to create."""

    name: Annotated[str, Field(min_length=1, max_length=255, description="Printable characters; not in use yet.")]


class AccountDocument(BaseModel):
    """Who owns webhooks and events."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    created_at: datetime
    suspended_at: Annotated[
        datetime | None, Field(description="Since then it takes no events, nothing is sent, and its keys are refused.")
    ]
    deleted_at: Annotated[
        datetime | None, Field(description="It is being deleted since then; its name is in use until it is gone.")
    ]


class AccountRecord(AccountDocument):
    """An account, and what it has."""

    webhooks: Annotated[int, Field(description=f"Up to {COUNTED:,} are counted.")]
    deliveries: Annotated[int, Field(description=f"In any state; up to {COUNTED:,} are counted.")]


class NewKey(Body):
    """An API key to create."""

    account: Annotated[
        Name | None, Field(description="The account it acts for. Only an operator's key can be without one.")
    ] = None
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope), description="What it may do.")]
    name: Annotated[Name | None, Field(description="A note on what it is for.")] = None
    days: Annotated[int | None, Field(ge=1, le=36_500, description="Days until it expires. Default: never.")] = None


class KeyDocument(BaseModel):
    """An API key without its secret."""

    id: UUID
    account: Annotated[str | None, Field(description="Null for an operator's key, which acts for every account.")]
    name: str | None
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]


class NewKeyDocument(KeyDocument):
    """A newly created key."""

    token: Annotated[
        str, Field(description="The key's id, a dot and its secret. Shown only once.", json_schema_extra={**SECRET})
    ]


@router.post(
    "/accounts",
    status_code=HTTPStatus.CREATED,
    operation_id="create_account",
    summary="Create an account",
    description="Answers 409 if the name is in use.",
    responses=usual_problems(HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(NewAccount),
)
def post_account(
    _: Operator, installation: Served, by: By, new: Annotated[NewAccount, body_as(NewAccount)]
) -> AccountDocument:
    with installation.transaction() as session:
        account = create_account(session, new.name, by=by)
        session.refresh(account)
    return AccountDocument.model_validate(account)


@router.get(
    "/accounts",
    operation_id="list_accounts",
    summary="List accounts, newest first",
    description="All accounts of the installation.",
    responses=usual_problems(),
)
def get_accounts(_: Observer, installation: Served, limit: Limit = 50, cursor: Cursor = None) -> Page[AccountDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        found = accounts_page(session, before=before, limit=limit + 1)
    page, older = page_of(found, limit, lambda account: account.id)
    return Page(items=list(map(AccountDocument.model_validate, page)), next=older)


@router.get(
    "/accounts/{name:path}",  # `:path`, because a name may contain slashes
    operation_id="get_account",
    summary="Show an account and what it has",
    description="While the account is being deleted: what is still to be removed. Then 404.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_account(_: Observer, installation: Served, name: AccountName) -> AccountRecord:
    with installation.transaction() as session:
        account = _named(session, name)
        contents = contents_of(session, account)
    known = AccountDocument.model_validate(account)
    return AccountRecord(**known.model_dump(), webhooks=contents.webhooks, deliveries=contents.deliveries)


@router.delete(
    "/accounts/{name:path}",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="delete_account",
    summary="Delete an account with its webhooks and deliveries, permanently",
    description="From now on it takes no events, nothing is sent, and its keys are revoked. What it has is removed in "
    "steps, the account last; until then its name stays in use. Deleting it again changes nothing. "
    "This cannot be undone.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def delete_account(_: Operator, serving: Shared, by: By, name: AccountName) -> AccountDocument:
    with serving.installation.transaction() as session:
        account = _named(session, name)
        delete(session, account, by=by)
    serving.known_callers.forget()
    return AccountDocument.model_validate(account)


@router.post(
    "/accounts/{name:path}/suspend",
    operation_id="suspend_account",
    summary="Suspend an account, immediately",
    description="No event is taken, nothing more is sent, not even mail about its webhooks, and its keys are refused "
    "with 403. Its open deliveries wait. Suspending it again changes nothing.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def post_suspend(_: Operator, serving: Shared, by: By, name: AccountName) -> AccountDocument:
    with serving.installation.transaction() as session:
        account = _named(session, name)
        suspend(session, account, by=by)
    serving.known_callers.forget()
    return AccountDocument.model_validate(account)


@router.post(
    "/accounts/{name:path}/resume",
    operation_id="resume_account",
    summary="Resume a suspended account",
    description="What became due meanwhile is sent at once. Resuming an account that is not suspended changes nothing. "
    "One that is being deleted cannot be resumed: 409.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def post_resume(_: Operator, installation: Served, by: By, name: AccountName) -> AccountDocument:
    with installation.transaction() as session:
        account = _named(session, name)
        resume(session, account, by=by)
    installation.waker.wake()
    return AccountDocument.model_validate(account)


@router.post(
    "/keys",
    status_code=HTTPStatus.CREATED,
    operation_id="create_key",
    summary="Create an API key; only this answer contains its token",
    description="Without `account`, the only scope is `operator` or `observe`. Answers 409 if the account has as many "
    "keys as its limit `keys` allows.",
    responses=usual_problems(HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(NewKey),
)
def post_key(_: Operator, installation: Served, by: By, new: Annotated[NewKey, body_as(NewKey)]) -> NewKeyDocument:
    valid_for = timedelta(days=new.days) if new.days is not None else None
    scopes = list(dict.fromkeys(new.scopes))
    with installation.transaction() as session:
        made = create_key(
            session,
            by=by,
            account=new.account,
            scopes=scopes,
            name=new.name,
            valid_for=valid_for,
            defaults=installation.settings.default_limits,
        )
        key = get_key(session, made.id)
    return NewKeyDocument(**shown_key(key, new.account), token=made.token)


@router.get(
    "/keys",
    operation_id="list_keys",
    summary="List API keys, newest first, including revoked and expired ones",
    description="Without their secrets.",
    responses=usual_problems(),
)
def get_keys(
    _: Observer, installation: Served, account: OfAccount = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[KeyDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        owner = find_account(session, account) if account is not None else None
        found = keys_page(session, owner, before=before, limit=limit + 1)
    page, older = page_of(found, limit, lambda pair: pair[0].id)
    return Page(items=[KeyDocument(**shown_key(key, name)) for key, name in page], next=older)


@router.delete(
    "/keys/{key_id}",
    status_code=HTTPStatus.NO_CONTENT,
    operation_id="revoke_key",
    summary="Revoke an API key and all its access tokens, permanently",
    description="This cannot be undone. Other API processes may let it send and read for 5 more seconds. Revoking it "
    "again changes nothing.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def delete_key(
    _: Operator, serving: Shared, by: By, key_id: Annotated[UUID, Path(description="The key's id.")]
) -> None:
    with serving.installation.transaction() as session:
        revoke_key(session, key_id, by=by)
    serving.known_callers.forget()


def _named(session: Session, name: str) -> Account:
    try:
        return find_account(session, name, deleted=True)
    except UnknownAccount:
        raise NotFound("account", name) from None  # the path's own thing: 404, not a field that is refused
