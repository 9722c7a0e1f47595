"""The audit log: who changed what. An entry is written in the transaction of its change and never changed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.orm import Session

from dispatcher.accounts.actor import (
    Actor,
    ActorKind,
    ApiKey,
    CommandLine,
    Console,
    Contact,
    Dialect,
    Portal,
    ResponseRule,
)
from dispatcher.db.models import Account, AuditEntry, Webhook
from dispatcher.db.models import ApiKey as ApiKeyRow
from dispatcher.db.new_ids import NEW_ID
from dispatcher.db.pages import along, page_of
from dispatcher.ids import time_of

PAGE = 50


class Action(StrEnum):
    """What was done; the part before the dot is the kind of thing it was done to."""

    ACCOUNT_CREATED = "account.created"
    ACCOUNT_SUSPENDED = "account.suspended"
    ACCOUNT_RESUMED = "account.resumed"
    ACCOUNT_LIMITED = "account.limits_changed"
    ACCOUNT_DELETED = "account.deleted"
    ACCOUNT_SECRETS_SHOWN = "account.secrets_shown"
    MESSAGES_ERASED = "account.messages_erased"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    LINK_MADE = "link.made"
    SESSION_BEGUN = "session.begun"
    SESSION_ENDED = "session.ended"
    PORTAL_SESSIONS_ENDED = "account.portal_sessions_ended"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_KEY_ROTATED = "webhook.signing_key_rotated"
    WEBHOOK_SECRETS_SHOWN = "webhook.secrets_shown"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_RELEASED = "webhook.released"
    NOTICE_RELEASED = "notice.released"
    CONTACT_CONFIRMED = "contact.confirmed"
    CONTACT_UNSUBSCRIBED = "contact.unsubscribed"
    EVENT_TRIGGERED = "event.triggered"
    MESSAGE_SHOWN = "event.message_shown"
    DELIVERY_CREATED = "delivery.created"
    DELIVERY_REDELIVERED = "delivery.redelivered"
    DELIVERY_CANCELLED = "delivery.cancelled"
    REDELIVERY_ORDERED = "redelivery.ordered"
    REDELIVERY_CANCELLED = "redelivery.cancelled"
    SECRETS_ROTATED = "installation.secrets_rotated"

    @property
    def target_kind(self) -> str:
        return self.partition(".")[0]


def write(
    transaction: Session | Connection,
    by: Actor,
    action: Action,
    target: UUID,
    *,
    account: UUID | None,
    detail: Mapping[str, object],
) -> None:
    """Records a change in the change's own transaction. `target` is the id of what was changed, `account` the id of its
    account. `detail` is JSON without secrets, unmasked URLs or contact addresses."""
    transaction.execute(
        insert(AuditEntry).values(
            id=text(NEW_ID),
            actor_kind=by.kind,
            actor=str(by),
            account_id=account,
            action=action,
            target_kind=action.target_kind,
            target_id=target,
            detail=detail,
            **_columns(by),
        )
    )


def list_entries(
    session: Session,
    *,
    actor: ActorKind | None = None,
    key: UUID | None = None,
    action: Action | None = None,
    target: UUID | None = None,
    account: Account | None = None,
    request: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: UUID | None = None,
    limit: int = PAGE,
) -> tuple[Sequence[tuple[AuditEntry, str | None]], UUID | None]:
    """A page of entries with their account's name, newest first, and the `before` of the next one (None: there is
    none). `target` is the id of what was changed, `request` the id of an HTTP request. The first of request, target,
    key and account that is given has its index; with more filters a page is made from the next 10,000 entries, and can
    be short or empty although there are older ones."""
    given: dict[str, object] = {
        "request_id": request,
        "target_id": target,
        "key_id": key,
        "account_id": account.id if account is not None else None,
        "action": action,
        "actor_kind": actor,
    }
    given = {name: value for name, value in given.items() if value is not None}
    first = next((name for name in given if name in _INDEXED), None)
    columns = {getattr(AuditEntry, first): given.pop(first)} if first is not None else {}
    wanted, keys, _ = along(columns, AuditEntry.id, since=since, until=until, before=before)
    query = select(AuditEntry.id, *(getattr(AuditEntry, name) for name in given)).where(*wanted)
    found, older = page_of(session, query, keys, lambda row: [row[name] == given[name] for name in given], limit=limit)
    whole = select(AuditEntry, Account.name).outerjoin(Account, Account.id == AuditEntry.account_id)
    rows = session.execute(whole.where(AuditEntry.id.in_([row.id for row in found])).order_by(AuditEntry.id.desc()))
    return [(entry, name) for entry, name in rows], older


def names_in(session: Session, entries: Collection[AuditEntry]) -> Mapping[UUID, str]:
    """What people call the keys and webhooks of these entries, by id: their names; of a webhook without one its masked
    URL."""
    keys = {entry.key_id for entry in entries} | {entry.target_id for entry in entries if entry.target_kind == "key"}
    webhooks = [entry.target_id for entry in entries if entry.target_kind == "webhook"]
    named = select(ApiKeyRow.id, ApiKeyRow.name).where(ApiKeyRow.id.in_(keys - {None}), ApiKeyRow.name.is_not(None))
    called = select(Webhook.id, func.coalesce(Webhook.name, Webhook.url_masked)).where(Webhook.id.in_(webhooks))
    return {row.id: row.name for row in session.execute(named.union_all(called))}


_INDEXED = frozenset({"request_id", "target_id", "key_id", "account_id"})


def shown_entry(entry: AuditEntry, account: str | None) -> dict[str, Any]:
    """An entry as the API and the command line show it; `account` is the name of its account."""
    return {
        "id": entry.id,
        "at": time_of(entry.id),
        "by": entry.actor,
        "actor": entry.actor_kind,
        "key_id": entry.key_id,
        "dialect": entry.dialect,
        "user": entry.user_label,
        "account": account,
        "action": entry.action,
        "target_kind": entry.target_kind,
        "target_id": entry.target_id,
        "detail": entry.detail,
        "request_id": entry.request_id,
        "address": entry.address,
        "session_id": entry.session_id,
    }


def _columns(by: Actor) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    match by:
        case ApiKey(key_id):
            columns = {"key_id": key_id}
        case Dialect(name, key_id):
            columns = {"dialect": name, "key_id": key_id}
        case Console(session_id, key_id):
            columns = {"session_id": session_id, "key_id": key_id}
        case Portal(session_id, key_id, user):
            columns = {"session_id": session_id, "key_id": key_id, "user_label": user}
        case CommandLine(user):
            return {"user_label": user}
        case ResponseRule():
            return {}
        case Contact():
            pass
        case _:
            assert_never(by)
    return {**columns, "request_id": by.call.request_id, "address": by.call.address}
