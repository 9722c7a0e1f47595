"""The state machine of a delivery: one enum, one table of transitions (drawn in docs/states.md, as a test checks)."""

from enum import StrEnum


# SQL statements contain them as literals, `'{State.READY}'`: with a bound parameter the planner could not use the
# partial indexes.
class State(StrEnum):
    """The state of a delivery."""

    READY = "ready"  # due: a claim may take it
    CLAIMED = "claimed"  # a worker is making the next attempt
    WAITING = "waiting"  # for the time of its retry
    DELIVERED = "delivered"
    DISCARDED = "discarded"  # ended without success, see Reason
    CANCELLED = "cancelled"  # ended by a person


class Reason(StrEnum):
    """Why a delivery was discarded."""

    REJECTED = "rejected"  # the receiver answered 4xx
    EXHAUSTED = "exhausted"  # every retry of the schedule failed, or its whole span passed behind an open circuit
    EXPIRED = "expired"  # the event's own deadline passed
    WEBHOOK_DISABLED = "webhook_disabled"  # its time ran out while the webhook was disabled
    WEBHOOK_DELETED = "webhook_deleted"
    RENDER_FAILED = "render_failed"  # no callback for this webhook can be made from this message, or making it kills


CLOSED = frozenset({State.DELIVERED, State.DISCARDED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.READY: frozenset({State.CLAIMED, State.DISCARDED, State.CANCELLED}),
    State.CLAIMED: frozenset({State.DELIVERED, State.WAITING, State.DISCARDED, State.READY}),
    State.WAITING: frozenset({State.READY, State.DISCARDED, State.CANCELLED}),
    State.DELIVERED: frozenset({State.READY}),
    State.DISCARDED: frozenset({State.READY}),
    State.CANCELLED: frozenset({State.READY}),
}
