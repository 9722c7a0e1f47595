"""A case of the fault suite: what is done to a rig, and what is promised for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.faults.ledgers import Died
from tests.faults.recovery import WAYS
from tests.faults.rig import Rig

SLACK = 3.0  # times the promise, on machines that are busy with other things
CLAIM_WAYS = frozenset(WAYS.values())  # what can wait until a claim expires


@dataclass(frozen=True, slots=True)
class Case:
    """`done_to(rig)` begins the fault, and ends it when it is left, `lasts` seconds later (`lasts_short` in a short
    run). `promise`: within how many seconds of the end everything flows again. `touches`: what it is done to; two
    faults of one thing do not happen at once. `died`: what may come twice because of it. `mails`: notices are sent
    meanwhile, and must arrive. `receiver`: it delays only what goes to the moody receiver. `why_not`: why it cannot be
    done here."""

    name: str
    about: str
    done_to: Callable[[Rig], AbstractContextManager[None]]
    promise: float
    touches: frozenset[str]
    lasts: float = 0.0
    lasts_short: float | None = None
    died: Died = Died.NOBODY
    mails: bool = False
    receiver: bool = False
    why_not: Callable[[], str | None] = lambda: None

    @property
    def loses_claims(self) -> bool:
        return self.died in {Died.NODE, Died.DATABASE}

    def bound(self, way: str, *, lease: float) -> float:
        """Seconds after the end of the fault in which this way must flow again, with slack. What a node or database had
        claimed when it died waits until those claims expire."""
        return self.promise * SLACK + (lease if self.loses_claims and way in CLAIM_WAYS else 0)

    def longest_bound(self, *, lease: float) -> float:
        return max(self.bound(way, lease=lease) for way in CLAIM_WAYS)

    def seconds(self, *, short: bool) -> float:
        return self.lasts_short if short and self.lasts_short is not None else self.lasts


CASES: list[Case] = []


def case(
    about: str,
    touches: str,
    *,
    promise: float,
    lasts: float = 0.0,
    lasts_short: float | None = None,
    died: Died = Died.NOBODY,
    mails: bool = False,
    receiver: bool = False,
    why_not: Callable[[], str | None] = lambda: None,
) -> Callable[[Callable[[Rig], Iterator[None]]], Callable[[Rig], Iterator[None]]]:
    """Makes a case of a function that begins a fault, yields while it lasts, and ends it. It has its name."""

    def add(function: Callable[[Rig], Iterator[None]]) -> Callable[[Rig], Iterator[None]]:
        made = Case(
            name=function.__name__.replace("_", "-"),
            about=about,
            done_to=contextmanager(function),
            promise=promise,
            touches=frozenset(touches.split()),
            lasts=lasts,
            lasts_short=lasts_short,
            died=died,
            mails=mails,
            receiver=receiver,
            why_not=why_not,
        )
        CASES.append(made)
        return function

    return add
