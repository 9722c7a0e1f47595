"""`GET /v1/audit`, for operators: who changed what."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import ActorKind
from dispatcher.accounts.audit import Action, list_entries, shown_entry
from dispatcher.web.authentication import Observer
from dispatcher.web.ownership import Name
from dispatcher.web.pagination import Cursor, Limit, Page, read_cursor, write_cursor
from dispatcher.web.parameters import Since, Until
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served

router = APIRouter(prefix="/v1", tags=["audit"])


class EntryDocument(BaseModel):
    """One change. The entry is written in the transaction of the change."""

    id: UUID
    at: datetime
    by: Annotated[str, Field(description="The actor in words, operators with the ids of their keys and sessions.")]
    actor: Annotated[str, Field(description="The kind of actor. Newer versions may add kinds.")]
    key_id: Annotated[UUID | None, Field(description="The API key that was used, directly or through a dialect.")]
    dialect: Annotated[str | None, Field(description="The dialect through which the key was used.")]
    user: Annotated[
        str | None,
        Field(
            description="For the command line: the user account on the machine. In the portal: the user, as the link "
            "named them."
        ),
    ]
    account: Annotated[str | None, Field(description="The account that the change concerns; null if it concerns none.")]
    action: Annotated[str, Field(description="Newer versions may add actions.")]
    target_kind: str
    target_id: UUID
    detail: Annotated[
        dict[str, Any],
        Field(
            description="`changed`: the changed fields of a webhook, each with its `old` and `new` value, or null if "
            "the values are not kept."
        ),
    ]
    request_id: Annotated[UUID | None, Field(description="The HTTP request's `X-Request-Id`.")]
    address: Annotated[str | None, Field(description="The address that the request came from.")]
    session_id: Annotated[UUID | None, Field(description="The session of the console or the portal.")]


@router.get(
    "/audit",
    operation_id="list_changes",
    summary="List changes, newest first",
    description="Changes over the API, through dialects, in the console and the portal, by commands and by response "
    "rules. An entry is written in the transaction of its change and never modified. With several filters, or with "
    "`actor` or `action`, a page searches the next 10,000 entries, so it can be short while `next` is not null.",
    responses=usual_problems(),
)
def get_audit(
    _: Observer,
    installation: Served,
    *,
    account: Annotated[Name | None, Query(description="Only changes that concern this account.")] = None,
    actor: Annotated[ActorKind | None, Query(description="By an actor of this kind.")] = None,
    key: Annotated[UUID | None, Query(description="By this API key, directly or through a dialect.")] = None,
    action: Annotated[Action | None, Query(description="With this action.")] = None,
    target: Annotated[UUID | None, Query(description="On the target with this id.")] = None,
    request: Annotated[UUID | None, Query(description="By the HTTP request with this id.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[EntryDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        found, older = list_entries(
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
            limit=limit,
        )
    items = [EntryDocument(**shown_entry(entry, name)) for entry, name in found]
    return Page(items=items, next=write_cursor(older))
