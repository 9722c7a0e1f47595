"""When each fault of a storm happens, made from a seed: the same seed, the same storm. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults import poison

LONG = 300.0  # seconds: a storm of this length keeps the product's own times
FIRST, LAST = 0.05, 0.9  # the part of a storm in which faults begin


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: its variants, each of which happens at least once, about how many seconds are between two in a
    long storm, and how many seconds one lasts (0: it happens at once)."""

    name: str
    about: str
    variants: tuple[str, ...]
    every: float
    lasts: float = 0.0


KINDS = (
    Kind("poison", "deliveries that kill or break whoever handles them", poison.ALL, every=15),
    Kind("kill-child", "a process that delivers is killed", ("",), every=25),
    Kind("kill-node", "a whole node is killed, and started again", ("deliver", "upkeep", "beat"), every=75),
    Kind("kill-api", "the process that takes events over HTTP is killed, and started again", ("",), every=60),
    Kind("kill-backend", "the process that sends events is killed, and started again", ("",), every=60),
    Kind("kill-postgres", "the whole database is killed, and started again on its data", ("",), every=150),
    Kind("giants", "a burst of the largest messages, in batches", ("",), every=60),
    Kind(
        "odd-rows",
        "rows that no version of this product wrote",
        ("secrets-member", "secrets-junk", "contract-member", "contract-type", "format", "notice-kind"),
        every=45,
    ),
    Kind(
        "locks",
        "another session holds rows",
        ("claimed", "ready", "circuit-breakers", "rates"),
        every=60,
        lasts=25,
    ),
    Kind("crowd", "one event for an account with thousands of webhooks", ("",), every=180),
    Kind(
        "hosts",
        "receivers that hang, refuse, are slow or fail",
        ("hang", "refuse", "slow", "switch"),
        every=10,
        lasts=5,
    ),
)
NAMES = tuple(kind.name for kind in KINDS)


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """A fault: when it begins and ends, in seconds from the start of the storm."""

    at: float
    kind: str
    variant: str
    until: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A storm. `lease`: how long a claim lasts, in seconds. `time_scale`: the installation's. `rate`: innocent events a
    second."""

    seed: int
    seconds: float
    steps: tuple[Step, ...]
    lease: float
    time_scale: float
    crowd: int  # webhooks
    rate: float = 25.0

    @property
    def is_long(self) -> bool:
        return self.seconds >= LONG


def make_plan(minutes: float, seed: int, only: Sequence[str] = NAMES) -> Plan:
    """The storm of this length and seed, of the kinds that are named in `only`. Leaving some out does not move the
    others. A short storm has all variants as well, but claims that expire sooner and shortened time: nobody can wait
    two minutes for a claim of a killed node there."""
    seconds = minutes * 60
    is_long = seconds >= LONG
    steps = [step for kind in KINDS if kind.name in only for step in _steps(kind, seconds, f"{seed} {kind.name}")]
    return Plan(
        seed=seed,
        seconds=seconds,
        steps=tuple(sorted(steps)),
        lease=120.0 if is_long else 20.0,
        time_scale=1.0 if is_long else 0.1,
        crowd=20_000,
    )


def _steps(kind: Kind, seconds: float, seed: str) -> list[Step]:
    """Each at a random time in its own part of the storm, the variants shuffled and repeated."""
    chance = random.Random(seed)
    count = max(len(kind.variants), round(seconds / kind.every))
    variants: list[str] = []
    while len(variants) < count:
        variants += chance.sample(kind.variants, len(kind.variants))
    part = seconds * (LAST - FIRST) / count
    steps = []
    for number, variant in enumerate(variants[:count]):
        at = round(seconds * FIRST + part * (number + chance.random()), 2)
        steps.append(Step(at, kind.name, variant, round(min(at + kind.lasts, seconds), 2)))
    return steps
