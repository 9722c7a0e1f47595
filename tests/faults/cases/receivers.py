"""One receiver that misbehaves, beside others that do not: these must notice nothing. What waited for it follows the
schedule of its trials, so that it has everything within about as long as it was away."""

import time
from collections.abc import Iterator

from tests.faults.cases.case import case
from tests.faults.receiving_end import Mood
from tests.faults.rig import Rig

_LASTS, _PROMISE = 8.0, 10.0


def _in(rig: Rig, mood: Mood) -> Iterator[None]:
    rig.control(f"mood/{mood}")
    yield
    rig.control(f"mood/{Mood.WELL}")


@case("a receiver refuses connections", "receiver", promise=_PROMISE, lasts=_LASTS, receiver=True)
def receiver_dead(rig: Rig) -> Iterator[None]:
    rig.moody.cut()
    yield
    rig.moody.restore()


@case("a receiver vanished without a word", "receiver", promise=_PROMISE, lasts=_LASTS, receiver=True)
def receiver_vanished(rig: Rig) -> Iterator[None]:
    rig.moody.vanish(new=True, server=False)
    yield
    rig.moody.restore()


@case("a receiver answers 500", "receiver", promise=_PROMISE, lasts=_LASTS, receiver=True)
def receiver_fails(rig: Rig) -> Iterator[None]:
    yield from _in(rig, Mood.FAILS)


@case("a receiver takes a second", "receiver", promise=_PROMISE, lasts=_LASTS, receiver=True)
def receiver_slow(rig: Rig) -> Iterator[None]:
    yield from _in(rig, Mood.SLOW)


@case("a receiver fails and answers in turn", "receiver", promise=_PROMISE, lasts=_LASTS, receiver=True)
def receiver_flaps(rig: Rig) -> Iterator[None]:
    yield from _in(rig, Mood.FLAPS)


@case("a receiver closes connections soon after each answer", "receiver", promise=3, lasts=_LASTS, receiver=True)
def receiver_closes_idle(rig: Rig) -> Iterator[None]:
    yield from _in(rig, Mood.CLOSES_IDLE)


@case("a receiver closes in the middle of its answers", "receiver", promise=_PROMISE, lasts=_LASTS, receiver=True)
def receiver_cuts(rig: Rig) -> Iterator[None]:
    yield from _in(rig, Mood.CUTS)


@case("all connections to a receiver are reset, again and again", "receiver", promise=_PROMISE, receiver=True)
def receiver_reset(rig: Rig) -> Iterator[None]:
    for _ in range(20):
        rig.moody.reset()
        time.sleep(0.1)
    yield
