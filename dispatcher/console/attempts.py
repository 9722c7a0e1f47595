"""How often somebody may try to sign in: counted in the broker for all API processes. While it is away each process
counts by itself, so a try is never uncounted."""

import logging
import math
import time
from functools import partial
from http import HTTPStatus

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from dispatcher.broker.clients import broker_pool, prove_writable
from dispatcher.broker.presence import Presence
from dispatcher.web.problems import busy

log = logging.getLogger("dispatcher.console.attempts")

PER_ADDRESS, PER_INSTALLATION = 10, 30  # a minute
_BROKER_SECONDS = 0.25


class Attempts:
    """One process's access to the shared counts of an installation."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url
        self._pool = broker_pool(broker_url, seconds=_BROKER_SECONDS)
        self._storage = RedisStorage(
            "redis://", connection_pool=self._pool, key_prefix="dispatcher:logins", wrap_exceptions=True
        )
        self._shared, self._own = (
            SlidingWindowCounterRateLimiter(storage) for storage in (self._storage, MemoryStorage())
        )
        self._presence = Presence(partial(log.warning, "logins are counted here alone: no answer of the broker (%s)"))

    def count(self, address: str) -> None:
        """Counts a try, in a thread. Raises Problem 429 for one too many of the address, or of all."""
        for most, who in ((PER_ADDRESS, f"address {address}"), (PER_INSTALLATION, "all")):
            if wait := self._wait(RateLimitItemPerMinute(most), who):
                raise busy(HTTPStatus.TOO_MANY_REQUESTS, "too many tries to sign in within a minute", wait)

    def _wait(self, limit: RateLimitItemPerMinute, who: str) -> int:
        if not self._presence.is_away(partial(prove_writable, self._storage.storage)):
            try:
                return _hit(self._shared, limit, who)
            except StorageError as error:
                self._pool.disconnect(inuse_connections=False)
                self._presence.failed(error.storage_error)
        return _hit(self._own, limit, who)


def _hit(limiter: SlidingWindowCounterRateLimiter, limit: RateLimitItemPerMinute, who: str) -> int:
    """0 if it was within the limit; otherwise the seconds until one is again."""
    if limiter.hit(limit, who):
        return 0
    return max(1, math.ceil(limiter.get_window_stats(limit, who).reset_time - time.time()))
