"""An account's rates over all its keys, for one API process: what is above a limit is refused with a 429."""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TypeAlias
from uuid import UUID

from dispatcher.accounts.api_keys import Caller
from dispatcher.accounts.rate_counts import RateCounts, Taken
from dispatcher.settings.quotas import KINDS, Limits, Quota, limit_of, stored_limit_reached, too_many
from dispatcher.web.problems import Problem, busy
from dispatcher.web.request_counts import RequestCounts

READ = (Quota.READS_PER_MINUTE,)
WRITE = (Quota.WRITES_PER_MINUTE,)
URL_VERIFICATION = (Quota.URL_VERIFICATIONS_PER_HOUR,)
TEST_EVENT = (Quota.TEST_EVENTS_PER_MINUTE,)
EVENT = (Quota.EVENTS_PER_SECOND, Quota.EVENTS_PER_DAY)

Together: TypeAlias = tuple[Quota, ...]  # what one request counts in

_LEASE_SECONDS, _SHORT_SECONDS, _PAUSE = 1.0, 0.1, 0.01
_MAX_LEASE, _MAX_LEASES = 1_000, 10_000
_STORED_SECONDS = 60  # until it is counted again


@dataclass(slots=True)
class _Lease:
    """What a process has counted in advance for an account, or (`taken.by`) that it may do nothing before `again`."""

    taken: Taken
    left: int
    began: float
    until: float
    again: float


class Rates:
    """One process's part in the shared counts of an installation."""

    def __init__(self, broker_url: str, defaults: Limits, counts: RequestCounts) -> None:
        self._defaults, self._counts = defaults, counts
        self._shared = RateCounts(broker_url)
        self._threads = ThreadPoolExecutor(2, "dispatcher-rates")  # no look at the database keeps a lease waiting
        self._leases: dict[tuple[UUID, Together], _Lease] = {}
        self._renewals: dict[tuple[UUID, Together], asyncio.Task[None]] = {}

    async def charge(self, caller: Caller, rates: Together) -> None:
        """Counts one of each. Raises Problem 429, with `Retry-After`, above a limit. An account that does much has some
        counted in advance: so many that they last for a tenth of a second to a second, and no more than a tenth or a
        hundredth of its limit. What it did not use of them within the second is given back with its next ones."""
        if caller.account_id is None:
            return
        key = caller.account_id, rates
        while True:
            lease, now = self._leases.get(key), time.monotonic()
            if lease is not None and lease.until > now:
                if lease.taken.by is not None:
                    raise self._too_many(lease.taken.by, lease.again - now)
                if lease.left:
                    lease.left -= 1
                    if 0 < lease.left == lease.taken.number // 4:  # ahead, so that nobody waits for the broker
                        self._renewal(key, caller)
                    return
            await asyncio.shield(self._renewal(key, caller))

    def spend(self, caller: Caller, rates: Together, number: int = 1, *, back: int = 0) -> None:
        """The same for a thread, for several at once, with `back` that were counted for them before."""
        limits = self._limits(caller, rates)
        if limits and caller.account_id is not None:
            taken = self._take(caller.account_id, limits, number, back=back, whole=True)
            if taken.by is not None:
                raise self._too_many(taken.by, taken.wait)

    async def charge_event(self, caller: Caller) -> None:
        """Counts one event. Raises as `charge`, also if the account has stored as much as it may."""
        self.check_stored(caller)
        await self.charge(caller, EVENT)

    def spend_events(self, caller: Caller, number: int) -> None:
        """Counts the events of a request for which one was counted before its body was read, in a thread: all or
        none."""
        self.spend(caller, EVENT, number, back=1)

    def check_stored(self, caller: Caller) -> None:
        """Raises Problem 429 if the account has stored as much as it may."""
        limit = stored_limit_reached(caller.stored_bytes, caller.limits, self._defaults)
        if limit is not None:
            raise self._too_many((Quota.STORED_BYTES, limit), _STORED_SECONDS)

    def used(self, account: UUID, limits: Limits) -> Mapping[Quota, int]:
        """How much of each rate that has a limit is used at this moment. Nothing while the broker is away."""
        return self._shared.used(account, limits)

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self._shared.close()

    def _limits(self, caller: Caller, rates: Together) -> list[tuple[Quota, int]]:
        if caller.account_id is None:
            return []
        limits = ((quota, limit_of(quota, caller.limits, self._defaults)) for quota in rates)
        return [(quota, limit) for quota, limit in limits if limit is not None]

    def _renewal(self, key: tuple[UUID, Together], caller: Caller) -> asyncio.Task[None]:
        """What brings the account's next lease, which all its requests share."""
        renewal = self._renewals.get(key)
        if renewal is None or renewal.done() or renewal.get_loop() is not asyncio.get_running_loop():
            renewal = self._renewals[key] = asyncio.create_task(self._renew(key, caller))
        return renewal

    async def _renew(self, key: tuple[UUID, Together], caller: Caller) -> None:
        try:
            limits, old, now = self._limits(caller, key[1]), self._leases.get(key), time.monotonic()
            size, back, is_ahead = 1, 0, old is not None and old.left > 0 and old.until > now
            if old is not None and old.taken.number:
                used = old.taken.number - old.left
                size = used * 2 if (is_ahead or not old.left) and now - old.began < _SHORT_SECONDS else used
                back = 0 if is_ahead or not old.taken.is_counted else old.left
            size = max(1, min(size, _largest(limits)))
            taken = Taken(_MAX_LEASE, is_counted=False)
            if limits:
                take = partial(copy_context().run, self._take, key[0], limits, size, back=back)
                taken = await asyncio.get_running_loop().run_in_executor(self._threads, take)
            now = time.monotonic()
            if is_ahead and old is not None and old.left:
                if taken.by is not None:
                    return  # what is left of the old one can still be used
                taken = taken._replace(number=taken.number + old.left)
            if len(self._leases) > _MAX_LEASES:
                self._leases.clear()
            # After a refusal it is asked again soon, because an operator may raise the limit; and not at once, because
            # many may come meanwhile.
            seconds = _LEASE_SECONDS if taken.by is None else max(_PAUSE, min(taken.wait, _LEASE_SECONDS))
            self._leases[key] = _Lease(taken, taken.number, now, now + seconds, again=now + taken.wait)
        finally:
            self._renewals.pop(key, None)

    def _take(
        self, account: UUID, limits: Sequence[tuple[Quota, int]], number: int, *, back: int = 0, whole: bool = False
    ) -> Taken:
        taken = self._shared.take(account, limits, number, back=back, whole=whole)
        if not taken.is_counted:
            self._counts.uncounted(number)
        return taken

    def _too_many(self, limit: tuple[Quota, int], seconds: float) -> Problem:
        self._counts.at_quota(limit[0])
        return busy(HTTPStatus.TOO_MANY_REQUESTS, too_many(*limit), max(1, math.ceil(seconds)))


def _largest(limits: Iterable[tuple[Quota, int]]) -> int:
    """The largest lease."""
    parts = (limit // (10 if KINDS[quota].seconds == 1 else 100) for quota, limit in limits)
    return max(1, min((_MAX_LEASE, *parts)))
