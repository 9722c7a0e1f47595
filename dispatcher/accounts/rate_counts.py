"""Counts of an account's rates in the broker, for all processes. While it is away nothing is counted."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from redis import Redis
from redis.exceptions import RedisError

from dispatcher.broker.clients import broker_pool, prove_writable
from dispatcher.broker.presence import Presence
from dispatcher.settings.quotas import DAY, KINDS, Limits, Quota

log = logging.getLogger("dispatcher.api.quotas")

RATES = tuple(quota for quota, kind in KINDS.items() if kind.seconds)

_BROKER_SECONDS = 0.25

# What a rate still allows flows back evenly: the value of a key is the time at which all of it will be there again. So
# as much as it allows in its time may come at once. Of a day, the value is the day and a number.
#
# Takes as many as each of the rates allows, up to `n`; or (`whole`) all of them, if the day allows all of them and the
# others one: what is above that has to be waited for by who comes next. Gives `back` first. Returns how many were
# taken, and if none, the number of the rate that did not allow it and for how many microseconds it will not.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local n, back, whole = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local day = math.floor(time[1] / 86400)
local values, most, by, wait = {}, n, 0, 0
for i, key in ipairs(KEYS) do
  local limit, seconds = tonumber(ARGV[2 + 2 * i]), tonumber(ARGV[3 + 2 * i])
  local value, free, again = redis.call('GET', key) or '', 0, 0
  if seconds == 86400 then
    local counted_on, counted = string.match(value, '^(%d+) (%d+)$')
    value = math.max(0, (tonumber(counted_on) == day and tonumber(counted) or 0) - back)
    free, again = limit - value, (day + 1) * 86400000000 - now
    if whole and free < n then free = 0 end
  else
    local each = seconds * 1000000 / limit
    value = math.max(now, (tonumber(value) or 0) - back * each)
    free = math.floor((now + seconds * 1000000 - value) / each + 0.000001)
    again = value + each - seconds * 1000000 - now
    if whole and free >= 1 then free = n end
  end
  values[i] = value
  if free < most then most = math.max(0, free) end
  if free < 1 and again > wait then by, wait = i, again end
end
for i, key in ipairs(KEYS) do
  local limit, seconds = tonumber(ARGV[2 + 2 * i]), tonumber(ARGV[3 + 2 * i])
  if seconds == 86400 then
    redis.call('SET', key, string.format('%.0f %.0f', day, values[i] + most), 'EX', 86400)
  else
    local value = values[i] + most * seconds * 1000000 / limit
    local left = string.format('%.0f', math.ceil((value - now) / 1000) + 1)
    redis.call('SET', key, string.format('%.0f', value), 'PX', left)
  end
end
return {string.format('%.0f', most), by, string.format('%.0f', math.ceil(wait))}
"""


class Taken(NamedTuple):
    """How many were taken; if none, which limit did not allow it, and for how many seconds it will not."""

    number: int
    by: tuple[Quota, int] | None = None
    wait: float = 0.0
    is_counted: bool = True


class RateCounts:
    """One process's access to the counts of an installation."""

    def __init__(self, broker_url: str) -> None:
        self._pool = broker_pool(broker_url, seconds=_BROKER_SECONDS)
        self._broker = Redis(connection_pool=self._pool)
        self._take = self._broker.register_script(_TAKE)
        self._presence = Presence(partial(log.warning, "quotas are not counted: the broker does not answer (%s)"))

    def take(
        self, account: UUID, limits: Sequence[tuple[Quota, int]], number: int, *, back: int = 0, whole: bool = False
    ) -> Taken:
        """Takes as many as all of these rates allow, up to `number`, or (`whole`) all or none; before that, `back` that
        were taken are given back. All, uncounted, while the broker is away."""
        if self._presence.is_away(self._look):
            return Taken(number, is_counted=False)
        keys = [_key(account, quota) for quota, _ in limits]
        each = [value for quota, limit in limits for value in (limit, KINDS[quota].seconds)]
        try:
            taken, by, wait = self._take(keys=keys, args=[number, back, int(whole), *each])
        except (RedisError, OSError) as error:
            self._failed(error)
            return Taken(number, is_counted=False)
        return Taken(int(taken)) if int(taken) else Taken(0, limits[int(by) - 1], int(wait) / 1_000_000)

    def used(self, account: UUID, limits: Limits) -> Mapping[Quota, int]:
        """How much of each rate that has a limit is used at this moment. Nothing while the broker is away."""
        if self._presence.is_away(self._look):
            return {}
        try:
            with self._broker.pipeline(transaction=False) as asked:
                asked.time()
                for quota in RATES:
                    asked.get(_key(account, quota))
                (seconds, micros), *values = asked.execute()
        except (RedisError, OSError) as error:
            self._failed(error)
            return {}
        return dict(_uses(values, limits, int(seconds), int(micros)))

    def close(self) -> None:
        self._pool.disconnect()

    def _look(self) -> None:
        prove_writable(self._broker)

    def _failed(self, error: Exception) -> None:
        self._pool.disconnect(inuse_connections=False)  # it was demoted, say: the next try may reach another
        self._presence.failed(error)


def _key(account: UUID, quota: Quota) -> str:
    return f"dispatcher:quota:{account.hex}:{quota}"


def _uses(values: Sequence[bytes | None], limits: Limits, now: int, micros: int) -> Iterable[tuple[Quota, int]]:
    for quota, value in zip(RATES, values, strict=True):
        seconds, limit = KINDS[quota].seconds, limits[quota]
        if limit is None:
            continue
        words = [int(word) for word in (value or b"0").split()]
        if seconds == DAY:
            yield quota, words[-1] if words[0] == now // DAY else 0
        else:
            left = words[0] - (now * 1_000_000 + micros)
            yield quota, max(0, math.ceil(left * limit / (seconds * 1_000_000)))
