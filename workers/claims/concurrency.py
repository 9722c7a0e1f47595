"""How many requests may be in flight: counters in the process that keep one account, and one webhook, from slowing
another. Pure.

- **Accounts.** An account that is alone may use all slots but a reserve of an eighth. While others are served, it may
  have half of what they leave. So another account always finds a slot, and does not wait for requests that hang.
- **Webhooks.** A webhook begins with a limit of 4 (1 if many webhooks are known), which grows and shrinks with its
  answers and drops to 1 after a failure. While others are served, a webhook may have at most half of the slots that
  they leave, and gets no more while it is silent for longer than its answers take.
- **Classes.** Webhooks that have not proven to answer share a part of the slots, and so do slow ones. However many
  hang, some slots are left for those that answer quickly.
- **Caps.** An account may have a limit of its own, or that of all accounts.
- **Destinations.** However many webhooks lead to one host and port, or to one address, they have a number of slots
  there together, which accounts share.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import IntEnum
from functools import cache, partial
from math import inf
from typing import NamedTuple

from workers.claims.account_shares import NOBODY, OTHERS_REMEMBERED, AccountShares, Latest, Part
from workers.claims.destinations import Crowd, Destinations
from workers.claims.webhook_limit import FIRST_LIMIT, WebhookLimit

ENOUGH = 200  # requests in flight that keep a loop busy where receivers are quick
# Requests that one claim brings for an account while several are served: in all, and for webhooks that are not proven,
# which often have to be read and decrypted first. All that a claim brings is sent before the next claim.
MOST_BESIDE_OTHERS = 200, 32
SLOW_REMEMBERED = 5.0  # seconds in which limits hardly grow after answers had to wait for the loop
KEPT = 1_000  # webhooks remembered while none of their requests is in flight
_LOOKED_AT = 4  # webhooks, to forget one: more than come, although many hang
UNBOUNDED = 2**31 - 1
MAX_REQUESTS = 400  # per claim; with half of that, PostgreSQL spends a fifth more on each


class ConcurrencyClass(IntEnum):
    """Webhooks of one kind, which share slots."""

    PROVEN = 0  # its last attempt was answered
    NEW = 1  # its first attempts have no result yet
    FAILING = 2  # its last attempt failed temporarily
    SLOW = 3  # its last attempt was answered, but its answers take more than a second


_UNPROVEN = {ConcurrencyClass.NEW, ConcurrencyClass.FAILING}


class Room(NamedTuple):
    """How many more requests a webhook may have in flight."""

    webhook_id: str
    free: int
    concurrency_class: ConcurrencyClass


@dataclass(frozen=True, slots=True)
class Rooms:
    """How much a claim may take: `known` webhooks have their own room, others are new and have `first`. `classes`
    bounds all webhooks of a class together; a class that is not in it is not bounded. `accounts` bounds all webhooks of
    the account with this number together, `lasting` those of them that are not `PROVEN`; accounts that are not in these
    two have `account_room` and `lasting_room`. `crowds` are destinations where much is in flight; any other one has
    `destination_room`. Of each of these rooms, webhooks that are not `PROVEN` leave `kept_for_proven`.
    `capped` is what accounts with a limit of their own, or of all accounts, have left of it; an account that is not in
    it has `capped_room`. The rooms above include it; what passes an open circuit has only this one.
    `waits_long`: how many requests in flight will not end soon, because their webhooks are slow or silent."""

    known: Sequence[Room] = ()
    first: int = FIRST_LIMIT
    classes: Mapping[ConcurrencyClass, int] = field(default_factory=dict)
    accounts: Mapping[int, int] = field(default_factory=dict)
    account_room: int = UNBOUNDED
    lasting: Mapping[int, int] = field(default_factory=dict)
    lasting_room: int = UNBOUNDED
    crowds: Sequence[Crowd] = ()
    destination_room: int = UNBOUNDED
    kept_for_proven: int = 0
    waits_long: int = 0
    capped: Mapping[int, int] = field(default_factory=dict)
    capped_room: int = UNBOUNDED

    def without(self, accounts: Iterable[int]) -> "Rooms":
        """The same after a request of each of these accounts, as far as there are caps."""
        if not self.capped and self.capped_room == UNBOUNDED:
            return self
        taken = Counter(accounts)

        def left(rooms: Mapping[int, int], room: int) -> dict[int, int]:
            return {**rooms, **{number: max(0, rooms.get(number, room) - count) for number, count in taken.items()}}

        return replace(
            self, accounts=left(self.accounts, self.account_room), lasting=left(self.lasting, self.lasting_room)
        )

    def of(self, webhook_ids: Iterable[str]) -> dict[str, int]:
        """How many more requests each of these webhooks may have."""
        known = {room.webhook_id: room.free for room in self.known}
        return {webhook_id: known.get(webhook_id, self.first) for webhook_id in webhook_ids}


@dataclass(slots=True, kw_only=True)
class _Limit(WebhookLimit):
    account_no: int
    destination: int
    concurrency_class: ConcurrencyClass = ConcurrencyClass.NEW


class ConcurrencyLimits:
    """The limits of one loop with at most `slots` requests in flight, `per_destination` of them to one destination.
    Times are monotonic seconds."""

    def __init__(self, slots: int, per_destination: int = UNBOUNDED) -> None:
        self._slots = slots
        self._destinations = Destinations(per_destination, MAX_REQUESTS)
        self._reserve = slots // 8
        self._limits: OrderedDict[str, _Limit] = OrderedDict()  # the ones used last at the end
        self._all = Part(slots)
        self._lasting = Part(slots - slots // 4 + self._reserve)
        self._failing = Part(max(1, slots // 2) + self._reserve)
        self._slow = Part(self._failing.size)
        self._parts = {
            ConcurrencyClass.PROVEN: (self._all,),
            ConcurrencyClass.NEW: (self._all, self._lasting),
            ConcurrencyClass.FAILING: (self._all, self._lasting, self._failing),
            ConcurrencyClass.SLOW: (self._all, self._lasting, self._slow),
        }
        self._slow_share = self._slow.size
        self._accounts = AccountShares(self._reserve)
        self._latest = Latest("")
        self._grow_from = self._proven_at = -inf
        self._cap, self._caps = UNBOUNDED, dict[int, int]()

    def limit_destinations(self, size: int) -> None:
        """From now on at most so many requests to one destination. What is in flight stays."""
        self._destinations.resize(size)

    def cap_accounts(self, cap: int, own: Mapping[int, int]) -> None:
        """From now on each account has at most so many requests in flight; those in `own`, by number, have their own
        cap. What is in flight stays."""
        self._cap, self._caps = cap, dict(own)

    @property
    def in_flight(self) -> int:
        return self._all.taken

    @property
    def first_limit(self) -> int:
        """The limit of an unknown webhook."""
        return FIRST_LIMIT if len(self._limits) < max(self._slots // 24, FIRST_LIMIT) else 1

    def class_room(self, concurrency_class: ConcurrencyClass, now: float) -> int:
        """How many more requests all webhooks of this class may have together. A claim bounds what is lasting by
        account, but not each class: of failing and slow ones, no more than one account may have."""
        if concurrency_class in {ConcurrencyClass.FAILING, ConcurrencyClass.SLOW}:
            room = self._accounts.most_room(self._parts[concurrency_class], now)
            is_paced = concurrency_class is ConcurrencyClass.SLOW and self._quick_are_served(now)
            return min(room, max(FIRST_LIMIT, self._slots // 32)) if is_paced else room
        return min(part.free for part in self._parts[concurrency_class])

    def is_shared(self, now: float) -> bool:
        """Whether several accounts are served."""
        return self._accounts.is_shared(now)

    def has_room(self, now: float) -> bool:
        """Whether an unknown webhook of any account could be sent something."""
        return self._accounts.least_room(self._parts[ConcurrencyClass.NEW], now) > 0

    def rooms(self, now: float) -> Rooms:
        """What may be claimed now."""
        self._bound_slow(now)
        account_room = cache(partial(self._account_room, now=now))
        idle_share = UNBOUNDED if self._latest.is_alone("", now) else self._all.half_left(0)
        known, waits_long = [], 0
        for webhook_id, limit in self._limits.items():
            kind = limit.concurrency_class
            if limit.in_flight and (limit.is_slow or kind is ConcurrencyClass.FAILING or limit.is_stalled(now)):
                waits_long += limit.in_flight
            most = account_room(kind, limit.account_no)
            if limit.in_flight or kind is ConcurrencyClass.SLOW or webhook_id == self._latest.last:
                free = self._webhook_room(webhook_id, limit, most, now)
            else:  # nearly all of them, if there are many
                free = max(0, min(limit.size, most, idle_share))
            known.append(Room(webhook_id, free, kind))
        usual = account_room(ConcurrencyClass.PROVEN, NOBODY)
        numbers = self._accounts.with_own_room(self._all) | {no for no, cap in self._caps.items() if cap < usual}
        most, most_lasting = MOST_BESIDE_OTHERS if self.is_shared(now) else (UNBOUNDED, UNBOUNDED)
        return Rooms(
            known,
            self.first_limit,
            {each: self.class_room(each, now) for each in ConcurrencyClass},
            {number: min(most, account_room(ConcurrencyClass.PROVEN, number)) for number in numbers},
            min(most, usual),
            {number: min(most_lasting, account_room(ConcurrencyClass.NEW, number)) for number in numbers},
            min(most_lasting, account_room(ConcurrencyClass.NEW, NOBODY)),
            self._destinations.crowds(),
            self._destinations.room,
            self._destinations.kept_for_proven,
            waits_long,
            {number: self._cap_left(number) for number in numbers} if self._caps or self._cap != UNBOUNDED else {},
            self._cap,
        )

    def _bound_slow(self, now: float) -> None:
        """Slow webhooks have half of the slots together, and a quarter while quick ones are served: many slow answers
        that come together keep the loop from others. They have equal shares, so that one claim does not find far more
        than it may take."""
        self._slow.size = max(1, self._slots // (4 if self._quick_are_served(now) else 2)) + self._reserve
        slow = sum(limit.in_flight > 0 and limit.is_slow for limit in self._limits.values())
        self._slow_share = max(1, self._slow.size // (slow + 1))

    def _quick_are_served(self, now: float) -> bool:
        return now - self._proven_at < OTHERS_REMEMBERED

    def _account_room(self, concurrency_class: ConcurrencyClass, account_no: int, now: float) -> int:
        return min(self._accounts.room(account_no, self._parts[concurrency_class], now), self._cap_left(account_no))

    def _cap_left(self, account_no: int) -> int:
        return max(0, self._caps.get(account_no, self._cap) - self._all.by_account.get(account_no, 0))

    def _webhook_room(self, webhook_id: str, limit: _Limit, most: int, now: float) -> int:
        room = min(limit.size - limit.in_flight, most)
        if not self._latest.is_alone(webhook_id, now):
            if limit.is_stalled(now):
                return 0
            room = min(room, self._all.half_left(limit.in_flight))
            if limit.concurrency_class is ConcurrencyClass.SLOW:
                room = min(room, self._slow_share - limit.in_flight)
        return max(0, room)

    def sent(self, webhook_id: str, account_no: int, now: float, destination: int) -> None:
        """A request was sent."""
        limit = self._limits.get(webhook_id)
        if limit is None:
            limit = self._limits[webhook_id] = _Limit(
                account_no=account_no, destination=destination, size=self.first_limit
            )
        else:
            # Another account: a row of an older version does not have its account's number. Another destination: the
            # webhook has a new URL.
            self._move(limit, limit.concurrency_class, account_no, destination)
        self._limits.move_to_end(webhook_id)
        self._latest.note(webhook_id, now)
        self._accounts.note(account_no, now)
        if limit.concurrency_class is ConcurrencyClass.PROVEN:
            self._proven_at = now
        if not limit.in_flight:
            limit.waits_since = now
        self._count(limit, 1)

    def found(self, destination: int, address: str) -> None:
        """A request found the address that the destination leads to."""
        self._destinations.learn(destination, address)

    def taken_back(self, webhook_id: str) -> None:
        """A request that counted as sent was not sent. This says nothing about its webhook."""
        self._count(self._limits[webhook_id], -1)

    def ended(self, webhook_id: str, *, failed: bool, duration: timedelta, now: float) -> None:
        """A request has ended: `failed` is a temporary failure; a rejection is an answer like any other."""
        limit = self._limits[webhook_id]
        self._count(limit, -1)
        limit.waits_since = now
        seconds = duration.total_seconds()
        limit.fastest = min(limit.fastest, seconds)
        was_unproven = limit.concurrency_class in _UNPROVEN
        if failed:
            if limit.concurrency_class is not ConcurrencyClass.FAILING:
                self._move(limit, ConcurrencyClass.FAILING, limit.account_no, limit.destination)
                limit.resize(1)
        else:
            limit.learn(seconds)
            answered = ConcurrencyClass.SLOW if limit.is_slow else ConcurrencyClass.PROVEN
            self._move(limit, answered, limit.account_no, limit.destination)
            if was_unproven:
                limit.resize(FIRST_LIMIT)
            else:
                limit.score_answer(seconds, self._slots, may_grow=self._may_grow(limit, seconds, now))
        self._forget()

    def _may_grow(self, limit: _Limit, seconds: float, now: float) -> bool:
        if now >= self._grow_from:
            return True
        # Its own time, not the loop's.
        is_slow = limit.concurrency_class is ConcurrencyClass.SLOW
        return seconds <= 2 * limit.fastest and (is_slow or self.in_flight <= ENOUGH)

    def seen(self, ended: int, now: float) -> None:
        """`ended` requests were found to have ended together. If that is half of very many, answers wait for the loop:
        more requests in flight would not speed it up, and more could be lost."""
        if self.in_flight >= ENOUGH and ended * 2 >= self.in_flight:
            self._grow_from = now + SLOW_REMEMBERED

    def _count(self, limit: _Limit, count: int) -> None:
        limit.in_flight += count
        for part in self._parts[limit.concurrency_class]:
            part.add(limit.account_no, count)
        self._destinations.add(limit.destination, limit.account_no, count)

    def _move(self, limit: _Limit, concurrency_class: ConcurrencyClass, account_no: int, destination: int) -> None:
        """Gives a webhook, with what it has in flight, to another class, account or destination."""
        if (concurrency_class, account_no, destination) != (
            limit.concurrency_class,
            limit.account_no,
            limit.destination,
        ):
            in_flight = limit.in_flight
            self._count(limit, -in_flight)
            limit.concurrency_class, limit.account_no, limit.destination = concurrency_class, account_no, destination
            self._count(limit, in_flight)

    def _forget(self) -> None:
        for _ in range(_LOOKED_AT):
            if len(self._limits) <= KEPT:
                return
            oldest, limit = next(iter(self._limits.items()))
            if limit.in_flight:  # sent long ago, and still unanswered
                self._limits.move_to_end(oldest)
            else:
                del self._limits[oldest]
