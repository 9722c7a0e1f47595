"""How many requests an API key may make: counted in the broker for all API processes, no limit while it is down."""

import logging
import math
import time
from http import HTTPStatus

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from dispatcher.accounts.api_keys import Caller
from dispatcher.web.problems import Problem

log = logging.getLogger("dispatcher.api.rate_limits")

_BROKER_SECONDS = 0.25
_PAUSE_AFTER_FAILURE = 5.0


class RateLimits:
    """One process's access to the shared counts of an installation."""

    def __init__(self, broker_url: str, per_minute: int) -> None:
        """`per_minute`: for each key; 0: no limit."""
        self._per_minute = per_minute
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

    def check(self, caller: Caller) -> None:
        """Counts a request of the caller. Raises Problem 429, with `Retry-After`, if there are too many."""
        if not self._per_minute:
            return
        if seconds := self.seconds_to_wait(caller.key_id.hex):
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"more than {self._per_minute} requests a minute with this API key",
                headers={"Retry-After": str(seconds)},
            )

    def seconds_to_wait(self, key: str) -> int:
        """Counts a request of this key; returns 0 if it may be made, otherwise the seconds until one may."""
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
