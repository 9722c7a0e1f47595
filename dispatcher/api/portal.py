"""`/v1/accounts/{name}/portal-links` and `/portal-sessions`: for platforms that send their customers to the portal."""

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.accounts.portal_choices import (
    LEAST_SESSION_SECONDS,
    LINK_SECONDS,
    MOST_LINK_SECONDS,
    MOST_SESSION_SECONDS,
    MOST_TEXT,
    MOST_URL,
    SESSION_SECONDS,
    PortalChoices,
    PortalScope,
)
from dispatcher.accounts.portal_links import make_to_portal
from dispatcher.accounts.sessions import end_all_of
from dispatcher.api.accounts import AccountName
from dispatcher.db.models import Account
from dispatcher.errors import NotFound, UnknownAccount
from dispatcher.web.authentication import By, Manager
from dispatcher.web.bodies import SECRET, Body, body_as, described_body
from dispatcher.web.problems import Problem, usual_problems
from dispatcher.web.serving import Served

# Before the router of accounts, whose names may contain slashes.
router = APIRouter(prefix="/v1", tags=["portal"])

# What a key needs to hand it on: signing keys and URLs are shown to who may change them.
_NEEDED = {PortalScope.READ: Scope.READ, PortalScope.MANAGE: Scope.MANAGE, PortalScope.SECRETS: Scope.MANAGE}


class NewPortalLink(Body):
    """A link to the portal, with the session that it begins."""

    scopes: Annotated[
        list[PortalScope],
        Field(
            min_length=1,
            max_length=len(PortalScope),
            description="What the session may do: `read`, always; `manage` to change webhooks and to redeliver; "
            "`secrets` to see signing keys and URLs in clear. No more than the key may do.",
        ),
    ]
    user: Annotated[
        str | None,
        Field(
            min_length=1, max_length=MOST_TEXT, description="Your own id of the user: the audit log says who it was."
        ),
    ] = None
    expires_in: Annotated[
        int, Field(ge=1, le=MOST_LINK_SECONDS, description="Seconds within which the link can be used.")
    ] = LINK_SECONDS
    session_seconds: Annotated[
        int,
        Field(ge=LEAST_SESSION_SECONDS, le=MOST_SESSION_SECONDS, description="Seconds after which the session ends."),
    ] = SESSION_SECONDS
    embed_origin: Annotated[
        str | None,
        Field(
            max_length=MOST_URL,
            description="The origin of your page that shows the portal in a frame, e.g. `https://app.example.com`: one "
            "of those that the operator allows. Without it, no page can.",
        ),
    ] = None
    return_url: Annotated[
        str | None,
        Field(
            max_length=MOST_URL,
            description="Where the portal leads back to, on one of the origins that the operator allows.",
        ),
    ] = None
    theme: Annotated[Literal["light", "dark"] | None, Field(description="Null: as the browser wants it.")] = None
    path: Annotated[
        str, Field(max_length=MOST_TEXT, description="The page that the session begins with, e.g. `/webhooks`.")
    ] = ""


class PortalLinkDocument(BaseModel):
    """A link that begins one session in the portal, once."""

    id: UUID
    url: Annotated[
        str,
        Field(
            description="Send the user's browser there. Whoever has it is let in, so it goes to nobody else. Shown "
            "only once.",
            json_schema_extra={**SECRET},
        ),
    ]
    expires_at: datetime


@router.post(
    "/accounts/{name:path}/portal-links",
    status_code=HTTPStatus.CREATED,
    operation_id="create_portal_link",
    summary="Make a link that lets a user of the account into the portal, once",
    description="It and its session end with the key that made it. They are refused while the account is suspended. "
    "Answers 409 if the installation has no portal, or if the account has as many sessions and unused links as its "
    "limit `portal_sessions` allows.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(NewPortalLink),
)
def post_portal_link(
    caller: Manager,
    installation: Served,
    by: By,
    name: AccountName,
    new: Annotated[NewPortalLink, body_as(NewPortalLink)],
) -> PortalLinkDocument:
    _check_scopes(caller, new.scopes)
    settings = installation.settings
    chosen = PortalChoices(**{**dict(new), "scopes": frozenset(new.scopes)})
    with installation.transaction() as session:
        link = make_to_portal(
            session,
            _named(session, caller, name),
            chosen,
            settings,
            key_id=caller.key_id,
            now=installation.clock(),
            by=by,
        )
    return PortalLinkDocument(id=link.id, url=link.url(settings.console_url), expires_at=link.expires_at)


@router.delete(
    "/accounts/{name:path}/portal-sessions",
    status_code=HTTPStatus.NO_CONTENT,
    operation_id="end_portal_sessions",
    summary="End all sessions of an account in the portal, at once",
    description="Links that were not used yet end, too. Without any it changes nothing.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def delete_portal_sessions(caller: Manager, installation: Served, by: By, name: AccountName) -> None:
    with installation.transaction() as session:
        end_all_of(session, _named(session, caller, name).id, installation.clock(), by=by)


def _check_scopes(caller: Caller, scopes: Iterable[PortalScope]) -> None:
    """Raises Problem 403 for more than the key may do."""
    lacking = sorted({_NEEDED[scope] for scope in scopes if not caller.may(_NEEDED[scope])})
    if lacking:
        reason = f"must not go beyond the API key's, which lacks `{lacking[0]}`"
        raise Problem(HTTPStatus.FORBIDDEN, f"scopes {reason}", errors=[("scopes", reason)])


def _named(session: Session, caller: Caller, name: str) -> Account:
    """The account in the path: the caller's own, or, for an operator, any. Raises NotFound."""
    try:
        if caller.account in {None, name}:
            return find_account(session, name)
    except UnknownAccount:
        pass
    raise NotFound("account", name)
