"""What explanations are made from: a delivery, a webhook, an event as they are at one moment. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isnan
from uuid import UUID

from dispatcher.states import Reason, State

SLOWEST, FASTEST = 0.01, 100_000.0  # messages a second: what claims make of a rate limit, whatever a row says


@dataclass(frozen=True, slots=True)
class Circuit:
    """The circuit breaker of a webhook whose last request failed."""

    failures: int
    failing_since: datetime
    opened_at: datetime | None
    trial_at: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookSituation:
    """A webhook and its account. `delays` are those of its schedule; `is_newer`: in a format of a newer version."""

    id: UUID
    account: str
    account_suspended_at: datetime | None
    account_deleted_at: datetime | None
    deleted_at: datetime | None
    enabled: bool
    disabled_at: datetime | None
    disabled_by: str | None
    disabled_reason: str | None
    quarantined_at: datetime | None
    quarantined_reason: str | None
    is_newer: bool
    rate_limit: float | None
    delays: Sequence[timedelta]
    circuit: Circuit | None  # None as well where the installation has no circuit breakers

    @property
    def messages_a_second(self) -> float | None:
        """Its rate limit as claims read it."""
        if self.rate_limit is None:
            return None
        return FASTEST if isnan(self.rate_limit) else min(max(self.rate_limit, SLOWEST), FASTEST)

    @property
    def is_circuit_open(self) -> bool:
        return self.circuit is not None and self.circuit.opened_at is not None


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """A delivery's last attempt. Without a request its outcome is unknown, or could not be recorded."""

    number: int
    at: datetime
    verdict: str | None
    outcome_unknown: bool
    status: int | None
    failure: str | None
    failure_detail: str | None
    messages: int | None  # that its request carried
    asks_for_time: bool  # the answer has a `Retry-After`


@dataclass(frozen=True, slots=True)
class Before:
    """How many other deliveries of the same webhook have been due as long or longer, so can come before it; if not
    `complete`, there are more."""

    count: int
    complete: bool


@dataclass(frozen=True, slots=True)
class DeliverySituation:
    """A delivery with its webhook. `cancelled_by`: who did, by the audit log. `is_event_kept`: with its message, which
    can also be erased. `is_delivering`: whether a process that delivers lives. `host_faults`: what is wrong with the
    hosts of all those that do. `before` is there for one that is ready."""

    id: UUID
    state: State
    reason: Reason | None
    due_at: datetime
    give_up_at: datetime
    attempt_count: int
    schedule_step: int
    batch_limit: int | None
    bypasses_circuit: bool
    deaths: int
    claimed_until: datetime | None
    finished_at: datetime | None
    cancelled_by: str | None
    is_event_kept: bool
    is_event_erased: bool
    expires_at: datetime | None
    webhook: WebhookSituation
    last: LastAttempt | None
    is_delivering: bool
    host_faults: str | None
    before: Before | None = None


@dataclass(frozen=True, slots=True)
class LastNotice:
    """The notice of a webhook that was written or sent last."""

    error: str
    observed_at: datetime
    due_at: datetime | None
    last_sent_at: datetime | None
    suppressed_count: int


@dataclass(frozen=True, slots=True)
class TokenSituation:
    """The token of a webhook that presents one."""

    is_there: bool  # and has not ended
    next_fetch_at: datetime
    after_refusal: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a webhook's last request: a status, or a failure instead."""

    at: datetime
    status: int | None
    failure: str | None
    failure_detail: str | None
    duration: timedelta
    verdict: str | None


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """All that explains a webhook. `unreadable`: why this version cannot read it. `ended` and `discarded` are counts of
    the last 24 hours' deliveries; if not `counts_complete`, of the newest 10,000 of them."""

    webhook: WebhookSituation
    unreadable: str | None
    answer: Answer | None
    ended: int
    discarded: int
    counts_complete: bool
    open_count: int
    open_complete: bool
    due_since: datetime | None
    token: TokenSituation | None
    contact_state: str | None  # None: it has no contact
    notice: LastNotice | None
    are_mailed: bool  # False: the installation has no mail server


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A webhook of an event's account, and what it takes."""

    id: UUID
    name: str | None
    url_masked: str
    event_types: Sequence[str]
    app: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventSituation:
    """An event with what became of it. `subscribers`, of which there can be more than were looked at, and
    `nearest_types` are there for one that no webhook took."""

    id: UUID
    type: str
    app: str | None
    created_at: datetime
    delivery_count: int
    states: Mapping[State, int]  # how many of its deliveries are in each, as far as they were counted
    is_erased: bool
    subscribers: Sequence[Subscriber] = ()
    has_more: bool = False
    nearest_types: Sequence[str] = ()
