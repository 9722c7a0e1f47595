"""How many requests an API key may make: counted in the broker for all API processes, no limit while it is down."""

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from dispatcher.accounts.api_keys import Caller
from dispatcher.broker.clients import broker_pool, prove_writable
from dispatcher.broker.presence import Presence
from dispatcher.web.problems import Problem, busy

log = logging.getLogger("dispatcher.api.rate_limits")

_BROKER_SECONDS = 0.25
_LEASE_SECONDS = 1.0
_MAX_LEASE, _MAX_LEASES = 1_000, 10_000


@dataclass(slots=True)
class _Lease:
    """Requests that a process has counted in advance for one key, or (`wait`) that it may make none for now."""

    size: int
    left: int
    until: float
    wait: int = 0


class RateLimits:
    """One process's access to the shared counts of an installation."""

    def __init__(self, broker_url: str, per_minute: int) -> None:
        """`per_minute`: for each key; 0: no limit."""
        self._per_minute = per_minute
        self._limit = RateLimitItemPerMinute(per_minute)
        self._pool = broker_pool(broker_url, seconds=_BROKER_SECONDS)
        self._storage = RedisStorage(
            "redis://", connection_pool=self._pool, key_prefix="dispatcher:requests", wrap_exceptions=True
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._threads = ThreadPoolExecutor(2, "dispatcher-limits")  # no look at the database keeps a lease waiting
        self._presence = Presence(partial(log.warning, "requests are not counted: the broker does not answer (%s)"))
        self._largest_lease = max(1, min(_MAX_LEASE, per_minute // 100))
        self._leases: dict[str, _Lease] = {}
        self._renewals: dict[str, asyncio.Task[None]] = {}

    async def charge(self, caller: Caller) -> None:
        """Counts a request of the caller. Raises Problem 429, with `Retry-After`, if there are too many. A key that
        makes many requests has some counted in advance, for a second: twice as many each time that it used them up, up
        to 1,000 or a hundredth of its limit. So a slow key is charged what it uses."""
        if not self._per_minute:
            return
        key = caller.key_id.hex
        while True:
            lease, now = self._leases.get(key), time.monotonic()
            if lease is not None and lease.until > now:
                if lease.wait:
                    raise self._too_many(max(1, math.ceil(lease.until - now)))
                if lease.left:
                    lease.left -= 1
                    return
            await self._renewed(key)

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self._pool.disconnect()

    async def _renewed(self, key: str) -> None:
        """Waits for the key's next lease, which all its requests share."""
        renewal = self._renewals.get(key)
        if renewal is None or renewal.done() or renewal.get_loop() is not asyncio.get_running_loop():
            renewal = self._renewals[key] = asyncio.create_task(self._renew(key))
        await asyncio.shield(renewal)

    async def _renew(self, key: str) -> None:
        old, size = self._leases.get(key), 1
        if old is not None and old.until > time.monotonic():  # used up in less than its second
            size = min(old.size * 2, self._largest_lease)
        loop, context = asyncio.get_running_loop(), copy_context()  # for the request's id in what is logged
        wait = await loop.run_in_executor(self._threads, context.run, self.seconds_to_wait, key, size)
        if wait and size > 1:  # the last ones before the limit
            size, wait = 1, await loop.run_in_executor(self._threads, context.run, self.seconds_to_wait, key)
        if len(self._leases) > _MAX_LEASES:
            self._leases.clear()
        self._leases[key] = _Lease(size, size, time.monotonic() + (wait or _LEASE_SECONDS), wait)
        self._renewals.pop(key, None)

    def _too_many(self, seconds: int) -> Problem:
        detail = f"more than {self._per_minute} requests a minute with this API key"
        return busy(HTTPStatus.TOO_MANY_REQUESTS, detail, seconds)

    def seconds_to_wait(self, key: str, requests: int = 1) -> int:
        """Counts requests of this key; returns 0 if all may be made, otherwise the seconds until one may."""
        if self._presence.is_away(partial(prove_writable, self._storage.storage)):
            return 0
        try:
            if self._limiter.hit(self._limit, key, cost=requests):
                return 0
            return max(1, math.ceil(self._limiter.get_window_stats(self._limit, key).reset_time - time.time()))
        except StorageError as error:
            self._pool.disconnect(inuse_connections=False)  # it was demoted, say: the next try may reach another
            self._presence.failed(error.storage_error)
            return 0
