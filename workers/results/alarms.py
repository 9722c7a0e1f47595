"""Alarms: one countdown wake per slot of 5 seconds, shared by every retry that falls into it.

So the broker holds at most a few hundred alarms, however many retries wait. A retry beyond the broker's visibility
timeout gets none (it would run several times): the sweep has it.
"""

import math
from collections.abc import Iterable
from datetime import timedelta

from dispatcher.wake import SWEEP, VISIBILITY_TIMEOUT, Waker
from schedules.beat import LEAST_SECONDS, SWEEP_EVERY
from schedules.timing import Timing


def slots(delays: Iterable[timedelta], now: float, timing: Timing) -> dict[int, float]:
    """Slot number -> countdown in seconds from `now` (Unix seconds) for each slot that a delay falls into. A slot's
    alarm rings at its end, when all of its retries are due."""
    width = slot_seconds(timing)
    longest = VISIBILITY_TIMEOUT - timedelta(seconds=width)
    found = {math.ceil((now + delay.total_seconds()) / width) for delay in delays if delay < longest}
    return {slot: slot * width - now for slot in found}


def slot_seconds(timing: Timing) -> float:
    """5 seconds; shorter in scaled time, but never under half a second."""
    return timing.timeout(SWEEP_EVERY.total_seconds(), least=LEAST_SECONDS)


def set_alarms(waker: Waker, delays: Iterable[timedelta], now: float, timing: Timing) -> None:
    """Sends the alarms that nobody has sent yet. A broker that is away is left alone: the sweep covers."""
    for slot, countdown in slots(delays, now, timing).items():
        waker.alarm(SWEEP, slot, countdown)
