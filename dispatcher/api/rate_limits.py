"""How many requests an API key may make: counted in the broker for all API processes, open while it is away."""

import logging
import math
import time
from functools import cache
from http import HTTPStatus

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from dispatcher.accounts import Caller
from dispatcher.api.problems import Problem
from dispatcher.settings import load_settings

log = logging.getLogger("dispatcher.api.rate_limits")

_BROKER_SECONDS = 0.25
_PAUSE_AFTER_FAILURE = 5.0


class RateLimits:
    """One process's way to the shared counts."""

    def __init__(self, broker_url: str, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        storage = RedisStorage(
            broker_url,
            key_prefix="dispatcher:requests",
            wrap_exceptions=True,
            socket_timeout=_BROKER_SECONDS,
            socket_connect_timeout=_BROKER_SECONDS,
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._down_until = 0.0

    def seconds_to_wait(self, key: str) -> int:
        """Counts a request of this key; 0 where it may be made, else after how many seconds one may."""
        if time.monotonic() < self._down_until:
            return 0
        try:
            if self._limiter.hit(self._limit, key):
                return 0
            return max(1, math.ceil(self._limiter.get_window_stats(self._limit, key).reset_time - time.time()))
        except StorageError as error:
            self._down_until = time.monotonic() + _PAUSE_AFTER_FAILURE
            log.warning("requests are not counted: the broker does not answer (%s)", type(error.storage_error).__name__)
            return 0


def check_rate(caller: Caller) -> None:
    """Counts a request of the caller. Raises Problem 429, with `Retry-After`, for one too many."""
    settings = load_settings()
    if not settings.api_requests_per_minute:
        return
    limits = _limits(settings.broker_url.get_secret_value(), settings.api_requests_per_minute)
    seconds = limits.seconds_to_wait(caller.key_id.hex)
    if seconds:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"more than {settings.api_requests_per_minute} requests a minute with this API key",
            headers={"Retry-After": str(seconds)},
        )


@cache
def _limits(broker_url: str, per_minute: int) -> RateLimits:
    return RateLimits(broker_url, per_minute)
