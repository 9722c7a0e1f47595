"""The audit log: who changed what. An entry is written in the transaction of its change and never changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.orm import Session

from dispatcher.accounts.actor import Actor, ActorKind, ApiKey, CommandLine, Contact, Dialect, ResponseRule
from dispatcher.db.id_ranges import between
from dispatcher.db.models import Account, AuditEntry
from dispatcher.db.new_ids import NEW_ID
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
) -> Sequence[tuple[AuditEntry, str | None]]:
    """Entries with their account's name, newest first; `before` is the last id of the previous page. `target` is the id
    of what was changed, `request` the id of an HTTP request."""
    equal = {
        AuditEntry.actor_kind: actor,
        AuditEntry.key_id: key,
        AuditEntry.action: action,
        AuditEntry.target_id: target,
        AuditEntry.account_id: account.id if account is not None else None,
        AuditEntry.request_id: request,
    }
    wanted = [column == value for column, value in equal.items() if value is not None]
    wanted += between(AuditEntry.id, since, until, before)
    query = select(AuditEntry, Account.name).outerjoin(Account, Account.id == AuditEntry.account_id).where(*wanted)
    rows = session.execute(query.order_by(AuditEntry.id.desc()).limit(limit))
    return [(entry, name) for entry, name in rows]


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
    }


def _columns(by: Actor) -> dict[str, Any]:
    match by:
        case Contact(call):
            return {"request_id": call.request_id, "address": call.address}
        case ApiKey(key_id, call):
            return {"key_id": key_id, "request_id": call.request_id, "address": call.address}
        case Dialect(name, key_id, call):
            return {"dialect": name, "key_id": key_id, "request_id": call.request_id, "address": call.address}
        case CommandLine(user):
            return {"user_label": user}
        case ResponseRule():
            return {}
        case _:
            assert_never(by)
