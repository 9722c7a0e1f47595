"""Delayed wakes: one wake with a countdown per time bucket of 5 seconds, shared by every retry that falls into it.

So the broker holds at most a few hundred of them, however many retries wait. A retry beyond the broker's visibility
timeout gets none, because its wake would run several times: the sweep finds it.
"""

import math
from collections.abc import Iterable
from datetime import timedelta

from dispatcher.broker.celery_settings import VISIBILITY_TIMEOUT
from dispatcher.wake import SWEEP, Waker
from schedules import beat
from schedules.timing import Timing


def buckets(delays: Iterable[timedelta], now: float, timing: Timing) -> dict[int, float]:
    """Bucket number -> countdown in seconds from `now` (Unix seconds), for each time bucket that a delay falls into.
    The wake comes at the bucket's end, when all of its retries are due."""
    width = bucket_seconds(timing)
    longest = VISIBILITY_TIMEOUT - timedelta(seconds=width)
    found = {math.ceil((now + delay.total_seconds()) / width) for delay in delays if delay < longest}
    return {bucket: bucket * width - now for bucket in found}


def bucket_seconds(timing: Timing) -> float:
    """5 seconds; shorter in scaled time, but never under half a second."""
    return beat.SWEEP.seconds(timing)


def send_delayed_wakes(waker: Waker, delays: Iterable[timedelta], now: float, timing: Timing) -> None:
    """Sends the delayed wakes that have not been sent yet. If the broker is unavailable, the sweep finds the
    retries."""
    for bucket, countdown in buckets(delays, now, timing).items():
        waker.wake_later(SWEEP, bucket, countdown)
