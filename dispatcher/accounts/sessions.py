"""Sessions of the console, for operators, and of the portal, for the customers of an account.

A session has a secret, of which only a hash is stored. It ends with the key that it was begun with, and is refused like
that key while the account is suspended.
"""
# ruff: noqa: S608 - composed of constants

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from dispatcher.accounts import actor as actors
from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor, Call
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.accounts.audit import Action
from dispatcher.db.arrays import array
from dispatcher.db.models import Account, ApiKey, BrowserSession
from dispatcher.db.pages import BEYOND
from dispatcher.errors import AccountSuspended, NotFound
from dispatcher.ids import new_id

Kind: TypeAlias = Literal["console", "portal"]
ShownSession: TypeAlias = tuple[Kind, str]  # with the secret

CONSOLE_FOR = timedelta(hours=8)
IDLE = timedelta(minutes=60)  # a session of the console that is not used for so long ends
SEEN_NOTED_EVERY = timedelta(minutes=1)  # not with every request: each would cost a write
MOST_OF_A_KEY = 100  # sessions of the console
_SECRET = re.compile("[A-Za-z0-9_-]{43}")  # as `token_urlsafe` writes 32 bytes


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """Who looks with a browser. Of the console: no account, and the scope `operator` or `observe`. Of the portal: an
    account, and some of `read`, `manage` and `secrets`. `key_id` is None for a link of the command line."""

    id: UUID
    kind: Kind
    key_id: UUID | None
    account_id: UUID | None
    account: str | None  # its name
    scopes: frozenset[str]
    user_label: str | None
    embed_origin: str | None
    return_url: str | None
    theme: str | None
    created_at: datetime
    seen_at: datetime  # to the minute
    proved_at: datetime | None  # when they last showed the key again
    expires_at: datetime
    # Of its account, as of a key's caller; only of a session that was found by its secret.
    limits: Mapping[str, object] | None = field(default=None, compare=False)
    stored_bytes: int | None = field(default=None, compare=False)

    def actor(self, call: Call) -> Actor:
        """Who makes a change that this session's request asks for."""
        if self.kind == "console":
            return actors.Console(self.id, self.key_id, call, is_operator=Scope.OPERATOR in self.scopes)
        return actors.Portal(self.id, self.key_id, self.user_label, call)


def begin_console(session: Session, caller: Caller, now: datetime, *, call: Call) -> tuple[ConsoleSession, str]:
    """Logs an operator in, with the key of `caller`, whose scope must be `operator` or `observe`. Returns the session
    and its secret, which is shown only once. Of too many sessions of a key the oldest end. Raises ValueError for any
    other key: ask `may_enter_console` first."""
    if not may_enter_console(caller):
        raise ValueError("the key is no operator's")
    _end_the_oldest(session, caller.key_id, now)
    # As a key with both scopes counts, so does its session.
    scope = Scope.OPERATOR if caller.is_operator else Scope.OBSERVE
    row = BrowserSession(kind="console", key_id=caller.key_id, scopes=[str(scope)], expires_at=now + CONSOLE_FOR)
    return begin(session, row, None, now, call=call)


def may_enter_console(caller: Caller) -> bool:
    return caller.account_id is None and caller.may(Scope.OBSERVE)


def begin(
    session: Session, row: BrowserSession, account: str | None, now: datetime, *, call: Call
) -> tuple[ConsoleSession, str]:
    """Stores a new session, whose id, secret and times are made here. `account` is the name of its account."""
    secret = secrets.token_urlsafe(32)
    row.id, row.secret_sha256, row.created_at, row.seen_at = new_id(), hash_of(secret), now, now
    session.add(row)
    session.flush()
    begun = _shown(row, account)
    audit.write(session, begun.actor(call), Action.SESSION_BEGUN, begun.id, account=row.account_id, detail=_detail(row))
    return begun, secret


def find(session: Session, kind: Kind, secret: str, now: datetime, *, is_use: bool = True) -> ConsoleSession | None:
    """The session with this secret; None for one that is unknown or of the other kind, or has ended: by itself, by
    being idle, or with its key or account. One statement. Raises AccountSuspended.

    With `is_use` it records when the session was last seen, to the minute: the caller commits."""
    times = {"now": now, "idle_since": now - IDLE, "note_since": now - SEEN_NOTED_EVERY}
    row = session.execute(_FIND, {"kind": kind, "hash": hash_of(secret), "is_use": is_use, **times}).one_or_none()
    if row is None:
        return None
    if row.suspended_at is not None:
        raise AccountSuspended(row.account)
    return replace(_shown(row, row.account), limits=row.limits, stored_bytes=row.stored_bytes)


def has_form(secret: str) -> bool:
    """Whether it could be a session's secret. Nobody need look for one that could not."""
    return _SECRET.fullmatch(secret) is not None


def are_open(session: Session, shown: Sequence[ShownSession], now: datetime) -> list[bool]:
    """Whether each is of a session that has not ended, as `find` would find it: one query for all. Sessions of
    suspended accounts are open."""
    hashes = [hash_of(secret) for _, secret in shown]
    rows = session.execute(_ARE_OPEN, {"hashes": array(hashes), "now": now, "idle_since": now - IDLE})
    found = {(row.kind, bytes(row.secret_sha256)) for row in rows}
    return [(kind, digest) in found for (kind, _), digest in zip(shown, hashes, strict=True)]


def get_session(session: Session, identifier: UUID, now: datetime) -> ConsoleSession:
    """One that has not ended. Raises NotFound."""
    row = session.execute(_GET, {"id": identifier, "now": now, "idle_since": now - IDLE}).one_or_none()
    if row is None:
        raise NotFound("session", identifier)
    return _shown(row, row.account)


def prove(session: Session, identifier: UUID, now: datetime) -> None:
    """The person has just shown again that it is them."""
    session.execute(update(BrowserSession).where(BrowserSession.id == identifier).values(proved_at=now))


def end(session: Session, identifier: UUID, now: datetime, *, by: Actor) -> None:
    """Logs out. Ending it again changes nothing. Raises NotFound."""
    row = session.get(BrowserSession, identifier, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("session", identifier)
    if row.expires_at > now:
        row.expires_at = now
        session.flush()
        audit.write(session, by, Action.SESSION_ENDED, row.id, account=row.account_id, detail=_detail(row))


def end_all_of(session: Session, account_id: UUID, now: datetime, *, by: Actor) -> int:
    """Ends an account's sessions in the portal, and its links that were not used yet. Returns how many sessions."""
    # Links first: a link that somebody is following is waited for, and so its session is there to be ended.
    links = session.execute(_END_LINKS, {"account": account_id, "now": now}).rowcount  # type: ignore[attr-defined]
    ended = session.execute(_END_SESSIONS, {"account": account_id, "now": now}).rowcount  # type: ignore[attr-defined]
    if ended or links:
        detail = {"sessions": ended, "links": links}
        audit.write(session, by, Action.PORTAL_SESSIONS_ENDED, account_id, account=account_id, detail=detail)
    return int(ended)


def list_sessions(
    session: Session, now: datetime, *, account: Account | None = None, before: UUID | None = None, limit: int
) -> Sequence[ConsoleSession]:
    """Sessions that have not ended, newest first: all, or those of an account in the portal; `before` is the last id of
    the previous page. Those of a suspended account are among them."""
    given = {"now": now, "idle_since": now - IDLE, "before": before or BEYOND, "limit": limit}
    if account is None:
        found = session.execute(_LIST, given)
    else:
        found = session.execute(_LIST_OF_ACCOUNT, {**given, "account": account.id})
    return [_shown(row, row.account) for row in found]


def hash_of(secret: str) -> bytes:
    # A generated secret of 256 bits needs no slow hash.
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _shown(row: Any, account: str | None) -> ConsoleSession:
    return ConsoleSession(
        id=row.id,
        kind=row.kind,
        key_id=row.key_id,
        account_id=row.account_id,
        account=account,
        scopes=frozenset(row.scopes),
        user_label=row.user_label,
        embed_origin=row.embed_origin,
        return_url=row.return_url,
        theme=row.theme,
        created_at=row.created_at,
        seen_at=row.seen_at,
        proved_at=row.proved_at,
        expires_at=row.expires_at,
    )


def _detail(row: BrowserSession) -> dict[str, object]:
    return {"kind": row.kind, "scopes": row.scopes, "user": row.user_label}


def _end_the_oldest(session: Session, key_id: UUID, now: datetime) -> None:
    # The key's row is locked: of two who log in at once, the second counts the first one's session.
    session.execute(select(ApiKey.id).where(ApiKey.id == key_id).with_for_update(key_share=True))
    session.execute(_END_OLDEST, {"key": key_id, "now": now, "kept": MOST_OF_A_KEY - 1})


# Sessions that have not ended: by themselves, by being idle, or with what they belong to.
_OPEN = """
FROM dispatcher.sessions s
LEFT JOIN dispatcher.api_keys k ON k.id = s.key_id
LEFT JOIN dispatcher.accounts a ON a.id = s.account_id
WHERE s.expires_at > :now AND (s.kind = 'portal' OR s.seen_at > :idle_since)
  AND (s.key_id IS NULL OR k.id IS NOT NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :now))
  AND (s.account_id IS NULL OR a.id IS NOT NULL AND a.deleted_at IS NULL)
"""
_LISTED = "ORDER BY s.id DESC LIMIT :limit"
_LIST = text(f"SELECT s.*, a.name AS account {_OPEN} AND s.id < :before {_LISTED}")
_LIST_OF_ACCOUNT = text(
    f"SELECT s.*, a.name AS account {_OPEN} AND s.account_id = :account AND s.id < :before {_LISTED}"
)
_ARE_OPEN = text(f"SELECT s.kind, s.secret_sha256 {_OPEN} AND s.secret_sha256 = ANY(CAST(:hashes AS bytea[]))")
_GET = text(f"SELECT s.*, a.name AS account {_OPEN} AND s.id = :id")

# Whoever notes at the moment that it was seen is not waited for: a page asks for several parts at once.
_FIND = text(f"""
WITH found AS MATERIALIZED (
  SELECT s.*, a.name AS account, a.suspended_at, a.limits, a.stored_bytes
  {_OPEN} AND s.secret_sha256 = :hash AND s.kind = :kind),
seen AS (
  UPDATE dispatcher.sessions SET seen_at = :now WHERE id = (
    SELECT s.id FROM dispatcher.sessions s JOIN found USING (id)
    WHERE :is_use AND s.seen_at <= :note_since FOR UPDATE OF s SKIP LOCKED))
SELECT * FROM found
""")

_END_OLDEST = text("""
UPDATE dispatcher.sessions SET expires_at = :now WHERE id = ANY(ARRAY(
  SELECT id FROM dispatcher.sessions WHERE key_id = :key AND kind = 'console' AND expires_at > :now
  ORDER BY id DESC OFFSET :kept))
""")
_END_SESSIONS = text("""
UPDATE dispatcher.sessions SET expires_at = :now WHERE account_id = :account AND expires_at > :now
""")
_END_LINKS = text("""
UPDATE dispatcher.portal_links SET expires_at = :now
WHERE account_id = :account AND used_at IS NULL AND expires_at > :now
""")
