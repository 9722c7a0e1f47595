"""When which case happens in a mixed run, made from a seed: the same seed, the same mix. Pure."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.cases.case import Case

FIRST, LAST = 3.0, 0.9  # seconds until the first begins; the part of the time in which faults begin
PAUSE = 2.0, 12.0  # seconds from the begin of one to the begin of the next
REST = 10.0  # seconds at most, after a fault, until the same thing has another one


@dataclass(frozen=True, slots=True)
class Mixed:
    """A case in a mix: when it begins and ends, in seconds from the start."""

    at: float
    until: float
    case: Case


def make_mix(cases: Sequence[Case], seconds: float, seed: int) -> list[Mixed]:
    """All cases in random order, again and again, several at once, but never two of one thing."""
    chance = random.Random(seed)
    free_at: defaultdict[str, float] = defaultdict(float)
    mix: list[Mixed] = []
    at = FIRST
    while cases:
        for case in chance.sample(cases, len(cases)):
            begins = round(max(at, *(free_at[thing] for thing in case.touches)), 2)
            if begins > seconds * LAST:
                return mix
            lasts = min(case.seconds(short=seconds < 300), seconds - begins)
            mix.append(Mixed(begins, round(begins + lasts, 2), case))
            for thing in case.touches:
                free_at[thing] = begins + lasts + min(case.promise, REST)
            at = begins + chance.uniform(*PAUSE)
    return mix
