"""API keys: a public id with a generated secret, stored as a hash; made, checked, listed, revoked."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.accounts import NAME_RULE, find_account, is_name
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.accounts.limits import lock_for_one_more, refuse_one_more
from dispatcher.db.models import Account, ApiKey
from dispatcher.db.pages import along
from dispatcher.errors import AccountSuspended, InvalidAccount, NotFound
from dispatcher.ids import new_id
from dispatcher.settings.quotas import DEFAULTS, Limits, Quota


def keys_page(
    session: Session, account: Account | None, *, before: UUID | None, limit: int
) -> Sequence[tuple[ApiKey, str | None]]:
    """Some keys with their account's name, newest first, revoked ones included: of one account, or all (operators',
    too); `before` is the last id of the previous page."""
    wanted, _, order = along({ApiKey.account_id: account.id} if account is not None else {}, ApiKey.id, before=before)
    query = select(ApiKey, Account.name).outerjoin(Account, Account.id == ApiKey.account_id).where(*wanted)
    return [(key, name) for key, name in session.execute(query.order_by(*order).limit(limit))]


def shown_key(key: ApiKey, account: str | None) -> dict[str, Any]:
    """A key as the API and the command line show it, without its secret; `account` is the name of its account."""
    return {
        "id": key.id,
        "account": account,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def get_key(session: Session, identifier: UUID) -> ApiKey:
    """Raises NotFound."""
    key = session.get(ApiKey, identifier)
    if key is None:
        raise NotFound("key", identifier)
    return key


def revoke_key(session: Session, identifier: UUID, *, by: Actor) -> ApiKey:
    """Ends a key for good; revoking it again changes nothing. Raises NotFound."""
    key = get_key(session, identifier)
    session.refresh(key, with_for_update=True)  # of two revocations at once, one takes effect
    if key.revoked_at is None:
        key.revoked_at = func.now()
        session.flush()
        audit.write(session, by, Action.KEY_REVOKED, key.id, account=key.account_id, detail={"name": key.name})
    return key


_USE_NOTED_EVERY = timedelta(minutes=1)  # not with every call: each would cost a write


class Scope(StrEnum):
    """What a key may do for its account. An operator's key has no account: with `operator` it may do everything for
    every account, with `observe` it may read all that `operator` may, and changes nothing and sees no secrets."""

    READ = "read"
    SEND = "send"
    MANAGE = "manage"
    OBSERVE = "observe"
    OPERATOR = "operator"


OF_OPERATORS = frozenset({Scope.OPERATOR, Scope.OBSERVE})
_READ_BY_OBSERVERS = frozenset({Scope.READ, Scope.OBSERVE})


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. `token` (its id, a dot, its secret) is shown only once."""

    id: UUID
    token: str


class Shown(NamedTuple):
    """A key that a request shows, by its secret, or by what we have made for it (None)."""

    key_id: UUID
    secret: str | None
    until: datetime | None = None  # when what we have made expires

    @property
    def mark(self) -> str:
        """The same for all spellings of the id, and for all that we have made for it: there are any number of them.
        What we have made is marked as no secret can be: whoever knows an id could show it otherwise."""
        return self.key_id.hex if self.secret is None else f"{self.key_id.hex}.{self.secret}"

    def is_over(self, now: datetime) -> bool:
        """Whether what we have made has expired."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by a valid key."""

    key_id: UUID
    account_id: UUID | None
    account: str | None
    scopes: frozenset[Scope]
    expires_at: datetime | None  # when the key itself expires
    shown_at: datetime  # when the key was presented, by the database's clock, like all times of keys
    limits: Mapping[str, object] | None = field(default=None, compare=False)  # the account's own, as they are stored
    stored_bytes: int | None = field(default=None, compare=False)  # by its events, as upkeep counted them last

    @property
    def is_operator(self) -> bool:
        """Whether it acts for the installation, not for an account."""
        return self.account_id is None and Scope.OPERATOR in self.scopes

    @property
    def sees_all(self) -> bool:
        """Whether it is told what accounts are not told."""
        return self.account_id is None and self.may(Scope.OBSERVE)

    def may(self, scope: Scope) -> bool:
        reads_all = Scope.OBSERVE in self.scopes and scope in _READ_BY_OBSERVERS
        return scope in self.scopes or reads_all or Scope.OPERATOR in self.scopes


def create_key(
    session: Session,
    *,
    by: Actor,
    account: str | None,
    scopes: Sequence[Scope],
    name: str | None = None,
    valid_for: timedelta | None = None,
    defaults: Limits = DEFAULTS,
) -> NewKey:
    """Makes a key; only its hash is stored. Without an account it must be an operator's. `defaults` are the
    installation's limits. Raises UnknownAccount, InvalidAccount for a bad name or scope, or AtQuota."""
    if name is not None and not is_name(name):
        raise InvalidAccount("name", NAME_RULE)
    if account is None and Scope.OPERATOR not in scopes and set(scopes) != {Scope.OBSERVE}:
        raise InvalidAccount("scopes", "must hold `operator`, or only `observe`, for a key without an account")
    if account is not None and not OF_OPERATORS.isdisjoint(scopes):
        raise InvalidAccount("scopes", "must not hold `operator` or `observe` for a key of an account")
    identifier, secret = new_id(), secrets.token_urlsafe(32)
    owner = None
    if account is not None:
        found = find_account(session, account)
        lock_for_one_more(session, found)
        refuse_one_more(session, found, Quota.KEYS, defaults)
        owner = found.id
    session.add(
        ApiKey(
            id=identifier,
            account_id=owner,
            name=name,
            secret_sha256=_hash(secret),
            scopes=[str(scope) for scope in scopes],
            expires_at=func.now() + valid_for if valid_for else None,
        )
    )
    session.flush()
    detail = {"name": name, "scopes": list(scopes), "valid_days": valid_for / timedelta(days=1) if valid_for else None}
    audit.write(session, by, Action.KEY_CREATED, identifier, account=owner, detail=detail)
    return NewKey(identifier, f"{identifier.hex}.{secret}")


def authenticate(session: Session, token: str) -> Caller | None:
    """The caller with this token (a key's id, a dot, its secret); None for a token that is unknown, wrong, expired or
    revoked, without saying which. Raises AccountSuspended for a valid token of a suspended account.

    Records when the key was last used, to the minute: the caller commits.
    """
    shown = shown_by(token)
    found = _find(session, shown.key_id) if shown is not None else None
    secret = token.partition(".")[2]
    matches = hmac.compare_digest(found[0].secret_sha256 if found else bytes(32), _hash(secret))
    return _caller(*found) if found and matches else None


def shown_by(token: str) -> Shown | None:
    """The key that a token shows; None for one without a form in which any key is."""
    identifier, _, secret = token.partition(".")
    try:
        return Shown(UUID(identifier), secret)
    except ValueError:
        return None


def are_valid(session: Session, shown: Sequence[Shown]) -> list[bool]:
    """Whether each is a key that may be used, as `authenticate` would find: one query for all. Suspended accounts have
    valid keys."""
    wanted = {one.key_id for one in shown}
    usable = ApiKey.revoked_at.is_(None) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    query = select(ApiKey.id, ApiKey.secret_sha256).where(ApiKey.id.in_(wanted), usable)
    found = {row.id: row.secret_sha256 for row in session.execute(query)}
    return [
        one.key_id in found and (one.secret is None or hmac.compare_digest(found[one.key_id], _hash(one.secret)))
        for one in shown
    ]


def caller_of_key(session: Session, key_id: UUID) -> Caller | None:
    """The caller with a key that was checked when its token was made; None once the key is expired or revoked. Raises
    AccountSuspended."""
    found = _find(session, key_id)
    return _caller(*found) if found else None


def _find(session: Session, key_id: UUID) -> Row[ApiKey, Account | None, datetime] | None:
    """A key, its account and the current time, in one query: every call of the API begins with it."""
    query = select(ApiKey, Account, func.now()).outerjoin(Account, Account.id == ApiKey.account_id)
    return session.execute(query.where(ApiKey.id == key_id)).one_or_none()


def _caller(key: ApiKey, account: Account | None, now: datetime) -> Caller | None:
    if key.revoked_at or (key.expires_at and key.expires_at <= now):
        return None
    if account is not None and account.suspended_at is not None:
        raise AccountSuspended(account.name)
    if key.last_used_at is None or now - key.last_used_at > _USE_NOTED_EVERY:
        key.last_used_at = now
    scopes = frozenset(map(Scope, key.scopes))
    return Caller(
        key.id,
        key.account_id,
        account.name if account else None,
        scopes,
        key.expires_at,
        shown_at=now,
        limits=account.limits if account else None,
        stored_bytes=account.stored_bytes if account else None,
    )


def _hash(secret: str) -> bytes:
    # A generated secret of 256 bits needs no slow hash.
    return hashlib.sha256(secret.encode()).digest()
