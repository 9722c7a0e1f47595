"""Situations to be explained, made from plain values."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dispatcher.states import State
from dispatcher.webhooks.explanation.situation import (
    Answer,
    Circuit,
    DeliverySituation,
    LastAttempt,
    WebhookRecord,
    WebhookSituation,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ID = UUID("0198a6de-3c1f-7d07-8b1d-3f0a52c4e6b1")


def webhook(**changes: Any) -> WebhookSituation:
    """A webhook to which everything is sent."""
    nothing = (
        *("account_suspended_at", "account_deleted_at", "deleted_at", "disabled_at", "disabled_by", "disabled_reason"),
        *("quarantined_at", "quarantined_reason", "rate_limit", "circuit"),
    )
    plain = {"id": ID, "account": "acme", "enabled": True, "is_newer": False, "delays": (MINUTE, 2 * MINUTE)}
    return WebhookSituation(**{**dict.fromkeys(nothing), **plain, **changes})


def open_circuit(**changes: Any) -> Circuit:
    plain = {"failures": 5, "failing_since": NOW - 2 * MINUTE, "opened_at": NOW - MINUTE, "trial_at": NOW + MINUTE}
    return Circuit(**{**plain, **changes})


def delivery(state: State, *, of: WebhookSituation | None = None, **changes: Any) -> DeliverySituation:
    """A delivery that is due, with no attempt so far."""
    plain = {
        "id": ID,
        "reason": None,
        "due_at": NOW,
        "give_up_at": NOW + DAY,
        "attempt_count": 0,
        "schedule_step": 0,
        "batch_limit": None,
        "bypasses_circuit": False,
        "deaths": 0,
        "claimed_until": None,
        "finished_at": None,
        "cancelled_by": None,
        "is_event_kept": True,
        "is_event_erased": False,
        "expires_at": None,
        "webhook": of or webhook(),
        "last": None,
        "is_delivering": True,
        "host_faults": None,
    }
    return DeliverySituation(state=state, **{**plain, **changes})


def attempt(**changes: Any) -> LastAttempt:
    """An attempt that was answered with a 503."""
    plain: dict[str, Any] = {"number": 1, "at": NOW - MINUTE, "verdict": "temporary", "outcome_unknown": False}
    plain |= {"status": 503, "failure": None, "failure_detail": None, "messages": 1, "asks_for_time": False}
    return LastAttempt(**{**plain, **changes})


def record(of: WebhookSituation, **changes: Any) -> WebhookRecord:
    """All about a webhook that answered its last request."""
    plain = {
        "webhook": of,
        "unreadable": None,
        "answer": Answer(NOW - MINUTE, 200, None, None, timedelta(seconds=0.25), "acknowledged"),
        "ended": 0,
        "discarded": 0,
        "counts_complete": True,
        "open_count": 0,
        "open_complete": True,
        "due_since": None,
        "token": None,
        "contact_state": "confirmed",
        "notice": None,
        "are_mailed": True,
    }
    return WebhookRecord(**{**plain, **changes})
