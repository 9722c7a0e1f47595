"""`GET /v1/audit`, for operators: by whom what was changed."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import ActorKind
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.accounts.audit import Action, list_entries
from dispatcher.db.models import AuditEntry
from dispatcher.ids import time_of
from dispatcher.web.authentication import caller_who_may
from dispatcher.web.ownership import Name
from dispatcher.web.pagination import Cursor, Limit, Page, page_of, read_cursor
from dispatcher.web.parameters import Since, Until
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served

router = APIRouter(prefix="/v1", tags=["audit"])


class EntryDocument(BaseModel):
    """One change, written in its own transaction."""

    id: UUID
    at: datetime
    by: Annotated[str, Field(description="In words, as in `disabled_by` of a webhook.")]
    actor: Annotated[str, Field(description="What kind of actor. A newer version may have more.")]
    key_id: Annotated[UUID | None, Field(description="Of an API key, through a dialect too.")]
    dialect: Annotated[str | None, Field(description="That the key came through.")]
    user: Annotated[str | None, Field(description="Of the command line: the machine's account.")]
    account: Annotated[str | None, Field(description="Whose it is; null: no account's.")]
    action: Annotated[str, Field(description="A newer version may have more.")]
    target_kind: str
    target_id: UUID
    detail: Annotated[
        dict[str, Any],
        Field(
            description="`changed`: the fields of a webhook, each with its `old` and `new` value; null in their place "
            "where the values are not kept."
        ),
    ]
    request_id: Annotated[UUID | None, Field(description="The HTTP request's `X-Request-Id`.")]
    address: Annotated[str | None, Field(description="Where that request came from.")]


@router.get(
    "/audit",
    operation_id="list_changes",
    summary="List changes, the last one first",
    description="Over the API, through dialects, by commands and by response rules. An entry is written with its "
    "change, and never changed.",
    responses=usual_problems(),
)
def get_audit(
    _: Annotated[Caller, Depends(caller_who_may(Scope.OPERATOR))],
    installation: Served,
    *,
    account: Annotated[Name | None, Query(description="Only what concerns this account.")] = None,
    actor: Annotated[ActorKind | None, Query(description="By somebody of this kind.")] = None,
    key: Annotated[UUID | None, Query(description="By this API key, through a dialect too.")] = None,
    action: Annotated[Action | None, Query(description="Of this action.")] = None,
    target: Annotated[UUID | None, Query(description="On what has this id.")] = None,
    request: Annotated[UUID | None, Query(description="By the HTTP request with this id.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[EntryDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        found = list_entries(
            session,
            account=find_account(session, account) if account is not None else None,
            actor=actor,
            key=key,
            action=action,
            target=target,
            request=request,
            since=since,
            until=until,
            before=before,
            limit=limit + 1,
        )
    page, older = page_of(found, limit, lambda pair: pair[0].id)
    return Page(items=[_document(entry, name) for entry, name in page], next=older)


def _document(entry: AuditEntry, account: str | None) -> EntryDocument:
    return EntryDocument(
        id=entry.id,
        at=time_of(entry.id),
        by=entry.actor,
        actor=entry.actor_kind,
        key_id=entry.key_id,
        dialect=entry.dialect,
        user=entry.user_label,
        account=account,
        action=entry.action,
        target_kind=entry.target_kind,
        target_id=entry.target_id,
        detail=entry.detail,
        request_id=entry.request_id,
        address=entry.address,
    )
