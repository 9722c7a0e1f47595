"""What both ends and the rig write down, as lines of JSON. All times are seconds of the machine's
monotonic clock, which all its processes share. Pure, except for reading and writing lines."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

Record = TypeVar("Record", bound="Sent | Received | Harm")
HELD_BACK = "held back"
UNKNOWN = "unknown"  # the outcome of an attempt whose worker died


class Role(StrEnum):
    """What is expected of an event."""

    STEADY = "steady"  # an innocent one: delivered, once, in time
    GIANT = "giant"  # the same, with as much data as an event may have
    CROWD = "crowd"  # the same, for thousands of webhooks
    RETRIED = "retried"  # the same, but its receiver fails each delivery once
    MOODY = "moody"  # the same, but faults are done to its receiver
    TROUBLED = "troubled"  # its webhook is at fault: it waits, or arrives
    KILLS = "kills"  # it kills its worker each time: discarded, after a few deaths
    RAISES = "raises"  # it makes the worker's code raise: it ends, or is retried, and bothers nobody


class Way(StrEnum):
    """How the backend hands events over."""

    ENQUEUE = "enqueue"
    API = "API"


INNOCENT = frozenset({Role.STEADY, Role.GIANT, Role.CROWD, Role.RETRIED, Role.MOODY})


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that was handed over, from the call (`asked`) to its receipt (`accepted`). `deliveries` is what that
    said; None if there was no receipt: whether the event was stored is unknown. `error`: what the call ended with, if
    it is none that the product promises."""

    number: str  # in the message, as its first member
    role: Role
    asked: float
    accepted: float
    event: str | None
    deliveries: int | None
    way: Way | None = None  # that of the backend
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A request that arrived whole. `delivery` and `attempt` are None if it carried several messages; these are their
    numbers. `answered`: by a whole answer that acknowledges it."""

    at: float
    path: str
    delivery: str | None
    numbers: tuple[str, ...]
    request: str | None = None  # its id
    attempt: int | None = None
    answered: bool = True


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
    and how long it took. `recorded`: when the transaction began that recorded it."""

    outcome: str
    began: float | None = None
    took: float | None = None
    number: int = 1
    verdict: str | None = None
    request: str | None = None
    recorded: float = 0.0


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
    CLAIM = "claim"  # those who deliver live, but their claims expired
    DATABASE = "database"  # it forgets what loops claimed and recorded in its last second


@dataclass(frozen=True, slots=True)
class Window:
    """A fault as it delays others: what was on its way between `began` and `ended` may arrive until `ended` plus
    `grace`. `only`: the deliveries or webhooks that it holds up, None for all. `delays`: whether it holds up any."""

    what: str
    began: float
    ended: float
    grace: float
    only: frozenset[str] | None = None
    died: Died = Died.NOBODY
    delays: bool = True


def write_line(record: Sent | Received | Harm) -> str:
    """A record as a line."""
    return json.dumps(asdict(record)) + "\n"


class Ledger(Generic[Record]):
    """A ledger in a file, read as it grows: all its records so far. A last line without an end is left out: its writer
    was killed, or is not done."""

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path, self._kind, self._at = path, kind, 0
        self._records: list[Record] = []

    def read(self) -> Sequence[Record]:
        self._records += self.take()
        return self._records

    def take(self) -> Sequence[Record]:
        """The records since the last call, which are not kept."""
        records: list[Record] = []
        if not self._path.exists():
            return records
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if line.endswith(b"\n"):
                    records.append(_record(self._kind, json.loads(line)))
                    self._at += len(line)
        return records


def _record(kind: type[Record], members: dict[str, Any]) -> Record:
    if "role" in members:
        members["role"] = Role(members["role"])
        members["way"] = Way(members["way"]) if members["way"] else None
    if "numbers" in members:
        members["numbers"] = tuple(members["numbers"])
    return kind(**members)
