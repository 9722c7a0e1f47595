"""The pace of a bulk redelivery: a number per second, recorded as the time up to which it is used up."""

import math
from datetime import datetime, timedelta

MAX_SAVED = timedelta(seconds=5)  # pace unused for longer is lost, so that no burst follows


def room(used_until: datetime, now: datetime, per_second: int) -> int:
    """How many may be redelivered now."""
    return max(0, math.floor(min(now - used_until, MAX_SAVED).total_seconds() * per_second))


def used_up(used_until: datetime, now: datetime, per_second: int, taken: int) -> datetime:
    """The time up to which the pace is used up after `taken` more."""
    return max(used_until, now - MAX_SAVED) + timedelta(seconds=taken / per_second)
