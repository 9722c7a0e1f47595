"""What both ends and the rig write down during a storm, as lines of JSON. All times are seconds of the machine's
monotonic clock, which all its processes share. Pure, except for reading and writing lines."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record", bound="Sent | Received | Harm")
HELD_BACK = "held back"
UNKNOWN = "unknown"  # the outcome of an attempt whose worker died


class Role(StrEnum):
    """What is expected of an event."""

    STEADY = "steady"  # an innocent one: delivered, once, in time
    GIANT = "giant"  # the same, with as much data as an event may have
    CROWD = "crowd"  # the same, for thousands of webhooks
    TROUBLED = "troubled"  # its webhook is at fault: it waits, or arrives
    KILLS = "kills"  # it kills its worker each time: discarded, after a few deaths
    RAISES = "raises"  # it makes the worker's code raise: it ends, or is retried, and bothers nobody


INNOCENT = frozenset({Role.STEADY, Role.GIANT, Role.CROWD})


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that was handed over, from the call (`asked`) to its receipt (`accepted`). `deliveries` is what that
    said; None if there was no receipt: whether the event was stored is unknown."""

    number: str  # in the message, as its first member
    role: Role
    asked: float
    accepted: float
    event: str | None
    deliveries: int | None


@dataclass(frozen=True, slots=True)
class Received:
    """A request that arrived whole. `delivery` is None if it carried several messages; these are their numbers."""

    at: float
    path: str
    delivery: str | None
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Harm:
    """What a poisoned delivery is about to do to a worker; `deadly`: it dies."""

    at: float
    pid: int
    poison: str
    delivery: str | None
    deadly: bool


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt on record. `outcome`: "unknown", what failed, or the answer's status. With a request, when it began,
    and how long it took."""

    outcome: str
    began: float | None = None
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery as the database has it at the end, with its attempts in their order. `state` is HELD_BACK if it is
    ready, but the circuit of its webhook is open."""

    delivery: str
    event: str
    webhook: str
    state: str
    reason: str | None
    tried: tuple[Tried, ...] = ()

    @property
    def unknown(self) -> int:
        """How many attempts have no known outcome."""
        return sum(one.outcome == UNKNOWN for one in self.tried)


class Died(StrEnum):
    """What was lost of those who deliver. After a death, receivers may get again what they have."""

    NOBODY = "nobody"
    CHILD = "child"
    NODE = "node"
    DATABASE = "database"  # it forgets what loops claimed and recorded in its last second


@dataclass(frozen=True, slots=True)
class Window:
    """A fault as it delays others: what was on its way between `began` and `ended` may arrive until `ended` plus
    `grace`. `only`: the deliveries or webhooks that it holds up, None for all."""

    what: str
    began: float
    ended: float
    grace: float
    only: frozenset[str] | None = None
    died: Died = Died.NOBODY


def write_line(record: Sent | Received | Harm) -> str:
    """A record as a line."""
    return json.dumps(asdict(record)) + "\n"


def read_lines(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The records in a file. A last line without an end is left out: its writer was killed."""
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield _record(kind, json.loads(line))


def _record(kind: type[Record], members: dict[str, Any]) -> Record:
    if "role" in members:
        members["role"] = Role(members["role"])
    if "numbers" in members:
        members["numbers"] = tuple(members["numbers"])
    return kind(**members)
