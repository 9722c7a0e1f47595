"""What a soak measures, and by how much each may grow. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf

MB = 1e6


class Kind(StrEnum):
    """A kind of quantity. One of a kind is named `KIND: WHAT`, as in `memory: deliver 1`."""

    MEMORY = "memory"  # resident. What a child shares with its parent counts for both, and does not grow as it parts
    MEMORY_IN_ALL = "memory in all"
    FILES = "open files"
    CONNECTIONS = "connections"
    BROKER_MEMORY = "broker memory"
    BROKER_KEYS = "broker keys"
    OPEN = "open deliveries"
    LATE = "late"
    DEAD = "dead rows"
    TABLE = "table"
    INDEX = "index"
    RATE = "a second"


@dataclass(frozen=True, slots=True)
class Limit:
    """By how much one of a kind may grow: an amount, or a share of what it was if that is more."""

    amount: float
    share: float = 0.0


LIMITS: Mapping[Kind, Limit] = {
    Kind.MEMORY: Limit(6 * MB, 0.05),
    Kind.MEMORY_IN_ALL: Limit(inf),
    Kind.FILES: Limit(4),
    Kind.CONNECTIONS: Limit(4),
    Kind.BROKER_MEMORY: Limit(2 * MB),
    Kind.BROKER_KEYS: Limit(20),
    Kind.OPEN: Limit(300),
    Kind.LATE: Limit(0.25, 0.5),
    Kind.DEAD: Limit(10_000),
    Kind.TABLE: Limit(2 * MB),
    Kind.INDEX: Limit(4 * MB, 0.25),
    Kind.RATE: Limit(inf),
}
BYTES = frozenset({Kind.MEMORY, Kind.MEMORY_IN_ALL, Kind.BROKER_MEMORY, Kind.TABLE, Kind.INDEX})
# These keep what happened. They grow with each event, or with each webhook that is made, and so do their indexes.
HISTORY = frozenset(
    {
        "accounts",
        "attempts",
        "audit",
        "contacts",
        "deliveries",
        "events",
        "idempotency_keys",
        "notices",
        "recipients",
        "requests",
        "subscriptions",
        "webhooks",
    }
)
# Indexes of such tables that hold only what is still to be done.
OF_OPEN_ROWS = frozenset(
    {
        "deliveries_bypassing_idx",
        "deliveries_claimed_idx",
        "deliveries_fair_idx",
        "deliveries_ready_idx",
        "deliveries_suspects_idx",
        "deliveries_waiting_idx",
        "deliveries_waiting_of_webhook_idx",
        "notices_due_idx",
        "notices_held_for_idx",
    }
)


def kind_of(name: str) -> Kind:
    """The kind of a quantity, by its name."""
    return Kind(name.partition(":")[0])


def is_history(name: str, table_of: Mapping[str, str]) -> bool:
    """Whether this quantity is the size of what grows by design. `table_of`: index -> its table."""
    what = name.partition(": ")[2]
    match kind_of(name):
        case Kind.TABLE:
            return what in HISTORY
        case Kind.INDEX:
            return table_of[what] in HISTORY and what not in OF_OPEN_ROWS
    return False
