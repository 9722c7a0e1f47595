"""Links that begin one session: for a customer whom the platform sends to the portal, or, made by the command line, for
an operator.

The secret is in the address's fragment, which no browser sends: a page posts it. So whoever only follows the link, such
as a mail scanner, does not use it up.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor, Call
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.audit import Action
from dispatcher.accounts.limits import lock_for_one_more, refuse_one_more
from dispatcher.accounts.portal_choices import PortalChoices, check_choices
from dispatcher.accounts.sessions import CONSOLE_FOR, ConsoleSession, Kind, begin, hash_of
from dispatcher.db.models import Account, BrowserSession, PortalLink
from dispatcher.errors import AccountSuspended, LinkGone, WrongState
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.settings.origins import read_origins
from dispatcher.settings.quotas import Quota


@dataclass(frozen=True, slots=True)
class Link:
    """A link. `secret` is shown only once; `path` is where the session begins, below /console or /portal."""

    id: UUID
    secret: str
    expires_at: datetime
    kind: Kind
    path: str

    def url(self, console_url: str) -> str:
        """`console_url` is where people reach the console and the portal."""
        return f"{console_url}/{self.kind}/enter#{self.id}.{self.secret}"


def make_to_portal(
    session: Session,
    account: Account,
    chosen: PortalChoices,
    settings: Settings,
    *,
    key_id: UUID | None,
    now: datetime,
    by: Actor,
) -> Link:
    """Makes a link for a customer of the account. It and its session end with the key. Raises InvalidLink, WrongState
    without a portal, AccountSuspended, and AtQuota and AccountAtLimit for too many."""
    _check_on(settings)
    ancestors, origins = read_origins(settings.portal_ancestors), read_origins(settings.portal_return_origins)
    check_choices(chosen, ancestors=ancestors, return_origins=origins)
    lock_for_one_more(session, account)
    if account.suspended_at is not None:
        raise AccountSuspended(account.name)
    refuse_one_more(session, account, Quota.PORTAL_SESSIONS, settings.default_limits)
    return make(
        session,
        kind="portal",
        key_id=key_id,
        account_id=account.id,
        scopes=chosen.scopes,
        user=chosen.user,
        expires_in=chosen.lasts,
        session_seconds=chosen.session_seconds,
        embed_origin=chosen.embed_origin,
        return_url=chosen.return_url,
        theme=chosen.theme,
        path=chosen.path,
        now=now,
        by=by,
    )


def make_to_console(
    session: Session, scope: Scope, settings: Settings, *, expires_in: timedelta, now: datetime, by: Actor
) -> Link:
    """Makes a link that logs an operator in without a key, with the scope `operator` or `observe`. Raises WrongState
    without a console."""
    _check_on(settings)
    return make(
        session,
        kind="console",
        key_id=None,
        account_id=None,
        scopes=[scope],
        user=None,
        expires_in=expires_in,
        session_seconds=int(CONSOLE_FOR.total_seconds()),
        embed_origin=None,
        return_url=None,
        theme=None,
        path="",
        now=now,
        by=by,
    )


def make(
    session: Session,
    *,
    kind: Kind,
    key_id: UUID | None,
    account_id: UUID | None,
    scopes: Collection[str],
    user: str | None,
    expires_in: timedelta,
    session_seconds: int,
    embed_origin: str | None,
    return_url: str | None,
    theme: str | None,
    path: str,
    now: datetime,
    by: Actor,
) -> Link:
    """Makes a link, of which only a hash of the secret is stored."""
    identifier, secret = new_id(), secrets.token_urlsafe(32)
    session.add(
        PortalLink(
            id=identifier,
            secret_sha256=hash_of(secret),
            kind=kind,
            key_id=key_id,
            account_id=account_id,
            scopes=sorted(scopes),
            user_label=user,
            embed_origin=embed_origin,
            return_url=return_url,
            theme=theme,
            path=path,
            session_seconds=session_seconds,
            created_at=now,
            expires_at=now + expires_in,
        )
    )
    session.flush()
    detail = {"kind": kind, "scopes": sorted(scopes), "user": user}
    audit.write(session, by, Action.LINK_MADE, identifier, account=account_id, detail=detail)
    return Link(identifier, secret, now + expires_in, kind, path)


def take(
    session: Session, identifier: UUID, secret: str, now: datetime, *, call: Call
) -> tuple[ConsoleSession, str, Link]:
    """Uses a link up, and begins its session: returns that, its secret, and the link. Of several at once one has it.
    Raises LinkGone, and AccountSuspended, which uses nothing up."""
    given = {"id": identifier, "hash": hash_of(secret), "now": now}
    row = session.execute(_TAKE, given).one_or_none()
    if row is None:
        found = session.execute(_WHY, given).one_or_none()
        if found is not None and found.is_suspended:
            raise AccountSuspended(found.account)
        raise LinkGone(found.return_url if found is not None else None)
    new = BrowserSession(
        kind=row.kind,
        key_id=row.key_id,
        account_id=row.account_id,
        scopes=row.scopes,
        user_label=row.user_label,
        embed_origin=row.embed_origin,
        return_url=row.return_url,
        theme=row.theme,
        expires_at=now + timedelta(seconds=row.session_seconds),
    )
    begun, shown = begin(session, new, row.account, now, call=call)
    return begun, shown, Link(identifier, secret, row.expires_at, row.kind, row.path)


def _check_on(settings: Settings) -> None:
    if settings.console == "off":
        raise WrongState("this installation has no console and no portal: DISPATCHER_CONSOLE=on brings both")


# The link ends with the key that made it.
_FITS = """
l.id = :id AND l.secret_sha256 = :hash AND l.used_at IS NULL AND l.expires_at > :now
AND (l.key_id IS NULL OR EXISTS (
  SELECT FROM dispatcher.api_keys k
  WHERE k.id = l.key_id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :now)))
"""
_TAKE = text(f"""
UPDATE dispatcher.portal_links l SET used_at = :now
WHERE {_FITS} AND (l.account_id IS NULL OR EXISTS (
  SELECT FROM dispatcher.accounts a WHERE a.id = l.account_id AND a.suspended_at IS NULL))
RETURNING l.*, (SELECT name FROM dispatcher.accounts a WHERE a.id = l.account_id) AS account
""")  # noqa: S608 - composed of constants
_WHY = text(f"""
SELECT l.return_url, a.name AS account,
  ({_FITS} AND a.suspended_at IS NOT NULL AND a.deleted_at IS NULL) AS is_suspended
FROM dispatcher.portal_links l LEFT JOIN dispatcher.accounts a ON a.id = l.account_id
WHERE l.id = :id AND l.secret_sha256 = :hash
""")  # noqa: S608 - composed of constants
