"""How many requests each webhook may have in flight: in-process counters that keep one webhook from slowing another.

A webhook begins with a concurrency limit of 4 (1 while many webhooks are untried). The limit doubles after as many
quick answers as it allows requests, and drops to 1 after a failure. While others are served, a webhook may have at most
half of the slots that they leave, and gets no more while it has not answered for a second. Webhooks that have not
proven to answer share a part of the in-flight slots: however many hang, some slots are left for those that do answer.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from math import inf

FIRST_LIMIT = 4
QUICK = timedelta(seconds=1)
OTHERS_REMEMBERED = 2.0  # seconds for which a webhook counts as served after its last request was sent
ENOUGH = 200  # requests in flight that keep a loop busy where receivers are quick
SLOW_REMEMBERED = 5.0  # seconds in which limits hardly grow after answers had to wait for the loop
KEPT = 1_000  # webhooks remembered while none of their requests is in flight


class ConcurrencyClass(IntEnum):
    """Webhooks of one kind, which share slots."""

    PROVEN = 0  # its last attempt was answered
    NEW = 1  # its first attempts have no result yet
    FAILING = 2  # its last attempt failed temporarily


@dataclass(slots=True)
class _Limit:
    size: int
    concurrency_class: ConcurrencyClass = ConcurrencyClass.NEW
    quick: int = 0  # quick answers since the size last changed
    fastest: timedelta = timedelta.max  # of its answers
    in_flight: int = 0
    waits_since: float = 0.0  # monotonic: the last answer, or the first request after an idle time


@dataclass(frozen=True, slots=True)
class Room:
    """How many more requests a webhook may have in flight."""

    webhook_id: str
    free: int
    concurrency_class: ConcurrencyClass


@dataclass(frozen=True, slots=True)
class Rooms:
    """How much a claim may take: `known` webhooks have their own room, others `first`. `classes` bounds all webhooks of
    a class together; a class that is not in it is not bounded."""

    known: Sequence[Room] = ()
    first: int = FIRST_LIMIT
    classes: Mapping[ConcurrencyClass, int] = field(default_factory=dict)

    def of(self, webhook_ids: Iterable[str]) -> dict[str, int]:
        """How many more requests each of these webhooks may have."""
        known = {room.webhook_id: room.free for room in self.known}
        return {webhook_id: known.get(webhook_id, self.first) for webhook_id in webhook_ids}


class ConcurrencyLimits:
    """The limits of one loop with at most `slots` requests in flight. Times are monotonic seconds."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._limits: OrderedDict[str, _Limit] = OrderedDict()  # the ones used last at the end
        self._in_flight: Counter[ConcurrencyClass] = Counter()
        self._grow_from = -inf
        self._latest = self._latest_other = ("", -inf)  # the last two webhooks that were sent a request, and when

    @property
    def in_flight(self) -> int:
        return self._in_flight.total()

    @property
    def first_limit(self) -> int:
        """The limit of an unknown webhook."""
        return FIRST_LIMIT if self._in_flight[ConcurrencyClass.NEW] < max(self._slots // 8, FIRST_LIMIT) else 1

    def class_room(self, concurrency_class: ConcurrencyClass) -> int:
        """How many more requests all webhooks of this class may have together: failing ones get half of the slots,
        failing and new ones together three quarters."""
        free = self._slots - self.in_flight
        if concurrency_class is ConcurrencyClass.PROVEN:
            return free
        failing, new = self._in_flight[ConcurrencyClass.FAILING], self._in_flight[ConcurrencyClass.NEW]
        unproven = self._slots - self._slots // 4 - failing - new
        if concurrency_class is ConcurrencyClass.FAILING:
            unproven = min(unproven, max(1, self._slots // 2) - failing)
        return max(0, min(free, unproven))

    def rooms(self, now: float) -> Rooms:
        """What may be claimed now."""
        return Rooms(
            [
                Room(webhook_id, self._room(webhook_id, limit, now), limit.concurrency_class)
                for webhook_id, limit in self._limits.items()
            ],
            self.first_limit,
            {each: self.class_room(each) for each in ConcurrencyClass},
        )

    def _room(self, webhook_id: str, limit: _Limit, now: float) -> int:
        largest = limit.size
        _, other_at = self._latest if self._latest[0] != webhook_id else self._latest_other
        if now - other_at < OTHERS_REMEMBERED:
            if limit.in_flight and now - limit.waits_since > QUICK.total_seconds():
                return 0
            # Half of what the others leave, whether it is taken at once or one by one: one greedy webhook gets half of
            # the slots, two end at a third each.
            others = self.in_flight - limit.in_flight
            largest = min(largest, max(1, (self._slots - others + 1) // 2))
        return max(0, min(largest - limit.in_flight, self.class_room(limit.concurrency_class)))

    def sent(self, webhook_id: str, now: float) -> None:
        """A request was sent."""
        limit = self._limits.get(webhook_id)
        if limit is None:
            limit = self._limits[webhook_id] = _Limit(self.first_limit)
        self._limits.move_to_end(webhook_id)
        if webhook_id != self._latest[0]:
            self._latest_other = self._latest
        self._latest = webhook_id, now
        if not limit.in_flight:
            limit.waits_since = now
        limit.in_flight += 1
        self._in_flight[limit.concurrency_class] += 1

    def taken_back(self, webhook_id: str) -> None:
        """A request that counted as sent was not sent. This says nothing about its webhook."""
        limit = self._limits[webhook_id]
        limit.in_flight -= 1
        self._in_flight[limit.concurrency_class] -= 1

    def ended(self, webhook_id: str, *, failed: bool, duration: timedelta, now: float) -> None:
        """A request has ended: `failed` is a temporary failure; a rejection is an answer like any other."""
        limit = self._limits[webhook_id]
        limit.in_flight -= 1
        limit.waits_since = now
        self._in_flight[limit.concurrency_class] -= 1
        limit.fastest = min(limit.fastest, duration)
        concurrency_class = ConcurrencyClass.FAILING if failed else ConcurrencyClass.PROVEN
        if concurrency_class is not limit.concurrency_class:
            self._in_flight[limit.concurrency_class] -= limit.in_flight
            self._in_flight[concurrency_class] += limit.in_flight
            limit.concurrency_class, limit.quick = concurrency_class, 0
            limit.size = 1 if failed else FIRST_LIMIT
        elif not failed and duration <= QUICK and self._may_grow(limit, duration, now):
            limit.quick += 1
            if limit.quick >= limit.size:
                limit.size, limit.quick = min(limit.size * 2, self._slots), 0
        self._forget()

    def _may_grow(self, limit: _Limit, duration: timedelta, now: float) -> bool:
        if now >= self._grow_from:
            return True
        return duration <= 2 * limit.fastest and self.in_flight <= ENOUGH

    def seen(self, ended: int, now: float) -> None:
        """`ended` requests were found to have ended together. If that is half of very many, answers wait for the loop:
        more requests in flight would not speed it up, and more could be lost."""
        if self.in_flight >= ENOUGH and ended * 2 >= self.in_flight:
            self._grow_from = now + SLOW_REMEMBERED

    def _forget(self) -> None:
        if len(self._limits) > KEPT:
            oldest, limit = next(iter(self._limits.items()))
            if limit.in_flight:  # sent long ago, and still unanswered
                self._limits.move_to_end(oldest)
            else:
                del self._limits[oldest]
