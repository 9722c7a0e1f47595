"""The tables, in the PostgreSQL schema `dispatcher`. The migrations create the same; a test compares the two.

The hot tables (events, deliveries, requests, attempts) have no foreign keys: checking one locks the shared webhook
row on every insert, and enqueueing must not touch anything that is shared.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Double,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.processes import Lease as Lease  # noqa: PLC0414 - a table like those below
from dispatcher.db.processes import Process as Process  # noqa: PLC0414
from dispatcher.db.pulses import Pulse as Pulse  # noqa: PLC0414
from dispatcher.db.pulses import PulseMark as PulseMark  # noqa: PLC0414
from dispatcher.db.recipients import Contact as Contact  # noqa: PLC0414
from dispatcher.db.recipients import MailBudget as MailBudget  # noqa: PLC0414
from dispatcher.db.recipients import Recipient as Recipient  # noqa: PLC0414
from dispatcher.db.redeliveries import BulkRedelivery as BulkRedelivery  # noqa: PLC0414 - a table like those below
from dispatcher.db.retention.place import RetentionPlace as RetentionPlace  # noqa: PLC0414
from dispatcher.db.schema import Base as Base  # noqa: PLC0414 - re-exported with its tables
from dispatcher.db.schema import Ciphertext
from dispatcher.db.sessions import BrowserSession as BrowserSession  # noqa: PLC0414
from dispatcher.db.sessions import PortalLink as PortalLink  # noqa: PLC0414
from dispatcher.db.stored_events import StoredEvents as StoredEvents  # noqa: PLC0414
from dispatcher.states import Reason, State

_NOW = text("now()")
_NOT_DELETED = text("deleted_at IS NULL")
_HELD = text("held_for IS NOT NULL")  # notices
_OF_A_DIALECT = text("deleted_at IS NULL AND dialect IS NOT NULL")
_OF_AN_APP = text("deleted_at IS NULL AND app IS NOT NULL")
_SUSPECTS = text(f"state = '{State.READY}' AND deaths >= 2")  # deliveries/deaths.py
_READY, _BYPASSING = text(f"state = '{State.READY}'"), text(f"state = '{State.READY}' AND bypasses_circuit")
_WAITING = text(f"state = '{State.WAITING}'")
_DISCARDED = text(f"state = '{State.DISCARDED}'")
_UNSUCCESSFUL = text(f"state IN ('{State.DISCARDED}', '{State.CANCELLED}')")

ERASED = 1  # codec of an event that was erased: it has neither data nor subject any more


def _one_of(column: str, values: type[State] | type[Reason]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Installation(Base):
    """One row that distinguishes this engine's database from every other (see `enqueue(connection=)`)."""

    __tablename__ = "installation"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest_key: Mapped[Ciphertext | None]  # key of the URL digests; also shows whether the encryption keys match
    # Versions without this migration do not work with the tables. A migration that older versions survive leaves it.
    oldest_revision: Mapped[str] = mapped_column(server_default="0009")
    stored_to: Mapped[UUID | None]  # the last event that `stored_events` includes
    requests_stored_to: Mapped[UUID | None]  # the last request
    # Until then nothing goes for which no time to keep it is set: it was in use before there was retention.
    retention_from: Mapped[datetime | None]
    # When binding secrets to their rows is to begin, then when it began; None: an older version was seen just now.
    secrets_bound_from: Mapped[datetime | None]


class Account(Base):
    """Who owns webhooks and events."""

    __tablename__ = "accounts"
    __table_args__ = (Index("accounts_limits_idx", "number", postgresql_where=text("limits IS NOT NULL")),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True), unique=True)  # short, for the index of claims
    name: Mapped[str] = mapped_column(unique=True)
    limits: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # its own; what is not in it is the installation's
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)  # as upkeep counted it at the time
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    suspended_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]  # its rows go in steps; the account's own row is the last


class ApiKey(Base):
    """A credential: a public id and the SHA-256 of a generated secret. Without an account it is an operator's."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("api_keys_account_id_id_idx", "account_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("dispatcher.accounts.id"), index=True)
    name: Mapped[str | None]
    secret_sha256: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Webhook(Base):
    """One registered receiver. Its URL is stored masked (to show), encrypted (to call, and as it was given), and as a
    keyed digest (to find)."""

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("webhooks_account_id_name_key", "account_id", "name", unique=True, postgresql_where=_NOT_DELETED),
        Index("webhooks_url_digest_idx", "account_id", "url_digest"),
        Index("webhooks_account_id_id_idx", "account_id", "id"),
        Index("webhooks_listed_idx", "account_id", "id", postgresql_where=_NOT_DELETED),
        Index("webhooks_dialect_idx", "account_id", "dialect", "id", postgresql_where=_OF_A_DIALECT),
        Index("webhooks_contact_idx", "account_id", text("lower(contact_email)"), postgresql_where=_NOT_DELETED),
        Index("webhooks_app_idx", "account_id", "app", "id", postgresql_where=_OF_AN_APP),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.accounts.id"))
    account_no: Mapped[int] = mapped_column(server_default=text("0"))  # the account's number; 0: upkeep will set it
    app: Mapped[str | None]
    name: Mapped[str | None]
    dialect: Mapped[str | None]  # the vendor's management API that it was made through; None: our own
    dialect_fields: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))  # used only by that API
    url_masked: Mapped[str]
    url_ciphertext: Mapped[Ciphertext | None]  # in the form that is called; None once deleted
    url_given_ciphertext: Mapped[Ciphertext | None]  # None: it was given in that form
    url_digest: Mapped[bytes | None]
    destination: Mapped[int | None] = mapped_column(BigInteger)  # keyed digest of the URL's host and port
    destination_of: Mapped[bytes | None]  # the `url_digest` that it was made for; another one: upkeep will renew it
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    contract: Mapped[dict[str, Any]] = mapped_column(JSONB)
    format: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))  # of contract and secrets, as stored
    secrets_ciphertext: Mapped[Ciphertext | None]  # JSON, as `webhooks.secrets` writes it
    contact_email: Mapped[str | None]
    retry_span: Mapped[timedelta]  # sum of the schedule's delays: `give_up_at` is set in SQL at enqueue
    batch_size: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))  # of the contract, for the claim
    rate_limit: Mapped[float | None] = mapped_column(Double)  # of the contract, for the claim: messages a second
    enabled: Mapped[bool]
    disabled_at: Mapped[datetime | None]
    disabled_by: Mapped[str | None]
    disabled_reason: Mapped[str | None]
    quarantined_at: Mapped[datetime | None]
    quarantined_reason: Mapped[str | None]
    version: Mapped[int] = mapped_column(server_default=text("1"))  # grows with each change: workers cache by it
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    deleted_at: Mapped[datetime | None]


class Subscription(Base):
    """The index that matching reads: one row per webhook and event type (or prefix, or `*`)."""

    __tablename__ = "subscriptions"
    __table_args__ = (Index("subscriptions_matching_idx", "account_id", "event_type", "app"),)

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.webhooks.id"), primary_key=True)
    event_type: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    app: Mapped[str | None]


class Event(Base):
    """A fact that happened. Immutable, except that it can be erased; partitioned by its id's time."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_account_id_id_idx", "account_id", "id"),
        Index("events_subject_idx", "account_id", "subject", "id", postgresql_where=text("subject IS NOT NULL")),
        Index("events_unmatched_idx", "account_id", "id", postgresql_where=text("delivery_count = 0")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    app: Mapped[str | None]
    type: Mapped[str]
    subject: Mapped[str | None]
    occurred_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    delivery_count: Mapped[int]  # how many webhooks matched when it was stored
    codec: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # 0: the bytes as they are sent; ERASED
    data: Mapped[bytes]
    traceparent: Mapped[str | None]


class IdempotencyKey(Base):
    """A producer's key for one event, stored apart from the partitioned events so that it is unique."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_expires_at_idx", "expires_at"),)

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID]
    digest: Mapped[bytes]  # SHA-256 of the content: the same key with other content is refused
    expires_at: Mapped[datetime]


class Delivery(Base):
    """One event to be delivered to one webhook: the unit of work. Each open state has its own partial index."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "webhook_id"),
        CheckConstraint(_one_of("state", State), name="state"),
        CheckConstraint(_one_of("reason", Reason), name="reason"),
        Index("deliveries_ready_idx", "webhook_id", "is_retry", "due_at", postgresql_where=_READY),
        Index("deliveries_fair_idx", "account_no", "webhook_id", "is_retry", "due_at", postgresql_where=_READY),
        Index("deliveries_bypassing_idx", "webhook_id", "due_at", postgresql_where=_BYPASSING),
        Index("deliveries_suspects_idx", "due_at", postgresql_where=_SUSPECTS),
        Index("deliveries_waiting_idx", "due_at", postgresql_where=_WAITING),
        Index("deliveries_waiting_of_account_idx", "account_no", "due_at", postgresql_where=_WAITING),
        Index("deliveries_waiting_of_webhook_idx", "webhook_id", "due_at", postgresql_where=_WAITING),
        Index("deliveries_claimed_idx", "claimed_until", postgresql_where=text(f"state = '{State.CLAIMED}'")),
        Index("deliveries_webhook_id_id_idx", "webhook_id", "id"),
        Index("deliveries_unsuccessful_idx", "webhook_id", "id", postgresql_where=_UNSUCCESSFUL),
        Index("deliveries_reason_idx", "webhook_id", "reason", "id", postgresql_where=_DISCARDED),
        {
            "postgresql_with": {
                "fillfactor": "80",
                # Dead index entries slow each claim; small, frequent vacuums keep them few.
                "autovacuum_vacuum_scale_factor": "0.01",
                "autovacuum_vacuum_insert_scale_factor": "0.05",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[UUID]
    webhook_id: Mapped[UUID]
    account_no: Mapped[int] = mapped_column(server_default=text("0"))  # 0: stored by a version that did not write it
    size: Mapped[int] = mapped_column(server_default=text("0"))  # bytes of the event's data; 0: not known
    state: Mapped[str]
    reason: Mapped[str | None]
    due_at: Mapped[datetime]
    give_up_at: Mapped[datetime]  # when it ends if it cannot be attempted (disabled webhook, open circuit)
    attempt_count: Mapped[int] = mapped_column(server_default=text("0"))  # numbers attempts: sent or possibly sent
    schedule_step: Mapped[int] = mapped_column(server_default=text("0"))  # retries used; redelivery resets it
    is_retry: Mapped[bool] = mapped_column(Computed("schedule_step > 0", persisted=True))
    batch_limit: Mapped[int | None] = mapped_column(SmallInteger)  # largest batch allowed, after one with it failed
    bypasses_circuit: Mapped[bool] = mapped_column(server_default=text("false"))  # a person asked for the next attempt
    unknown_in_a_row: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # claims that expired
    deaths: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # of processes that were handling it
    claimed_by: Mapped[UUID | None]
    claimed_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    finished_at: Mapped[datetime | None]


class CircuitBreaker(Base):
    """A webhook whose last attempt failed: since when and, once the circuit is open, when the next trial request is
    made. No row: the circuit is closed, and the last attempt did not fail."""

    __tablename__ = "circuit_breakers"
    __table_args__ = (
        Index("circuit_breakers_trial_at_idx", "trial_at", postgresql_where=text("opened_at IS NOT NULL")),
    )

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.webhooks.id"), primary_key=True)
    failures: Mapped[int]  # requests that failed temporarily, in a row
    failing_since: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    trials: Mapped[int] = mapped_column(
        server_default=text("0")
    )  # steps of the schedule: failures since it opened, including the one that opened it
    trial_at: Mapped[datetime | None]


class Rate(Base):
    """The pace of a webhook with a rate limit, shared by all workers: the time until which its allowance is used."""

    __tablename__ = "rates"

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.webhooks.id"), primary_key=True)
    used_until: Mapped[datetime] = mapped_column(server_default=_NOW)


class Token(Base):
    """The OAuth2 token of a webhook, shared by all workers, or the token request that will bring it. No row: none has
    been needed yet."""

    __tablename__ = "tokens"

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.webhooks.id"), primary_key=True)
    credentials: Mapped[bytes]  # a keyed digest of those it is fetched with: a token of others does not count
    fetch_id: Mapped[UUID]  # the token request that brought it or will bring it: distinguishes tokens
    next_fetch_at: Mapped[datetime]  # no other fetch starts before: one is running, or one has just failed
    token_ciphertext: Mapped[Ciphertext | None]
    expires_at: Mapped[datetime | None]  # shortly before the token itself ends
    # The receiver refused the previous token and has accepted none since.
    after_refusal: Mapped[bool] = mapped_column(server_default=text("false"))


class Request(Base):
    """One HTTP request and its captured answer, stored once, no matter how many deliveries it carried."""

    __tablename__ = "requests"
    __table_args__ = ({"postgresql_partition_by": "RANGE (id)"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID]
    method: Mapped[str]
    url_masked: Mapped[str]
    headers_masked: Mapped[str]  # one `Name: value` a line
    status: Mapped[int | None] = mapped_column(SmallInteger)
    failure: Mapped[str | None]  # a FailureKind
    failure_detail: Mapped[str | None]
    answer_headers: Mapped[str | None]  # up to 8 KiB
    answer_excerpt: Mapped[bytes | None]  # up to 4 KiB of the body
    answer_cut: Mapped[bool]  # headers or body were longer than what is kept
    answer_unreadable: Mapped[bool]  # its content encoding could not be decoded
    verdict: Mapped[str | None]  # None: its token was refused, or recorded by a version that did not write it
    messages: Mapped[int | None] = mapped_column(SmallInteger)  # that it carried; None as for `verdict`
    replaces: Mapped[UUID | None]  # the request before it in the same attempt: its token was refused
    started_at: Mapped[datetime]
    duration: Mapped[timedelta]


class Attempt(Base):
    """One try of one delivery. Immutable. Without a request its outcome is unknown: the worker died."""

    __tablename__ = "attempts"
    __table_args__ = ({"postgresql_partition_by": "RANGE (id)"},)

    # One index serves "attempts of a delivery" and the uniqueness that partitions need.
    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[UUID | None]
    verdict: Mapped[str | None]
    outcome_unknown: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class Notice(Base):
    """The notice to a webhook's contact about one error: one row per (webhook, kind, fingerprint)."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("webhook_id", "kind", "fingerprint"),
        Index("notices_due_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("notices_webhook_id_id_idx", "webhook_id", "id"),
        Index("notices_held_for_idx", "held_for", postgresql_where=_HELD),
        Index("notices_webhook_id_held_for_idx", "webhook_id", "held_for", postgresql_where=_HELD),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.webhooks.id"))
    kind: Mapped[str]
    fingerprint: Mapped[str]
    observed_at: Mapped[datetime]
    delivery_id: Mapped[UUID]  # the first in the quiet period: the mail is about it
    request_id: Mapped[UUID | None]
    retry_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # when a mail is due; None: none is due
    claimed_until: Mapped[datetime | None]  # a worker is sending it
    failed_sends: Mapped[int] = mapped_column(server_default=text("0"))
    quarantined_at: Mapped[datetime | None]
    quarantined_reason: Mapped[str | None]
    last_sent_at: Mapped[datetime | None]  # starts the quiet period
    sent_count: Mapped[int] = mapped_column(server_default=text("0"))
    suppressed_count: Mapped[int] = mapped_column(server_default=text("0"))  # since the last mail
    held_for: Mapped[str | None]  # the mailbox whose limits delay the pending mail


class AuditEntry(Base):
    """One change. Immutable. Without foreign keys: a worker that writes one must not wait for a locked account."""

    __tablename__ = "audit"
    __table_args__ = (
        *(Index(f"audit_{name}_id_idx", name, "id") for name in ("account_id", "key_id", "request_id", "target_id")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor_kind: Mapped[str]
    actor: Mapped[str]  # in words, as in `disabled_by`
    key_id: Mapped[UUID | None]
    dialect: Mapped[str | None]  # that the key was used through
    user_label: Mapped[str | None]  # on the command line: the machine's account
    account_id: Mapped[UUID | None]
    action: Mapped[str]
    target_kind: Mapped[str]
    target_id: Mapped[UUID]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    request_id: Mapped[UUID | None]  # of the HTTP request
    address: Mapped[str | None]  # that the request came from
    session_id: Mapped[UUID | None]  # of the console or the portal
