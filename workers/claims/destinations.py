"""How many requests may be in flight to one destination, over all webhooks. Pure.

A destination is a host and port, as the number that `webhooks.destination` has. Destinations whose names lead to the
same address share its slots. An address is known once a name was looked up for a request; the transport itself holds
these first requests to their number. Within a destination an account has what `most_for_one`
says, and webhooks that have not proven to answer leave a sixteenth to those that have.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from dispatcher.accounts.fair_turns import most_for_one
from workers.claims.account_shares import NOBODY, Part

KEPT = 10_000  # destinations remembered while nothing is in flight there

Key: TypeAlias = int | str  # a destination whose address is not known, or an address


class Crowd(NamedTuple):
    """Destinations that share slots, of which many are taken. Numbers of requests: `free` for all accounts together,
    `accounts` for those with something in flight there, `account_room` for any other one."""

    destinations: Sequence[int]
    free: int
    accounts: Mapping[int, int]
    account_room: int


@dataclass(slots=True)
class _Place:
    part: Part
    destinations: dict[int, None] = field(default_factory=dict)  # that lead here: an ordered set


@dataclass(slots=True)
class _Destination:
    key: Key
    by_account: Counter[int] = field(default_factory=Counter)  # requests in flight


class Destinations:
    """What is in flight to each destination, `size` requests at most. One claim may be for `most_claimed` requests."""

    def __init__(self, size: int, most_claimed: int) -> None:
        self._most_claimed = most_claimed
        self._known: OrderedDict[int, _Destination] = OrderedDict()  # the ones used last at the end
        self._places: dict[Key, _Place] = {}
        self._crowded: set[Key] = set()
        self.resize(size)

    @property
    def room(self) -> int:
        """How many requests may be claimed for a destination that is in no crowd."""
        return self._room

    @property
    def kept_for_proven(self) -> int:
        """How much of each room is only for webhooks that have proven to answer."""
        return self._size // 16

    def resize(self, size: int) -> None:
        """Each has another number of requests from now on; what is in flight stays."""
        self._size, self._room = size, most_for_one(size)
        self._crowded_from = self._room - self._most_claimed
        for key, place in self._places.items():
            place.part.size = size
            self._look_at(key)

    def add(self, destination: int, account_no: int, count: int) -> None:
        """Counts requests that were sent, or with a negative number have ended."""
        known = self._known.get(destination)
        if known is None:
            known = self._known[destination] = _Destination(destination)
            self._enter(destination, known)
        self._known.move_to_end(destination)
        known.by_account[account_no] += count
        if not known.by_account[account_no]:
            del known.by_account[account_no]
        self._places[known.key].part.add(account_no, count)
        self._look_at(known.key)
        self._forget()

    def learn(self, destination: int, address: str) -> None:
        """The name leads to this address. What is in flight counts there from now on."""
        known = self._known.get(destination)
        if known is not None and known.key != address:
            self._leave(destination, known)
            known.key = address
            self._enter(destination, known)

    def crowds(self) -> list[Crowd]:
        """The places where one claim could take more than is left for one account."""
        return [self._crowd(self._places[key]) for key in self._crowded]

    def _crowd(self, place: _Place) -> Crowd:
        part = place.part
        rooms = {account_no: _room(part, account_no) for account_no in part.by_account}
        return Crowd(list(place.destinations), max(0, part.free), rooms, _room(part, NOBODY))

    def _enter(self, destination: int, known: _Destination) -> None:
        place = self._places.setdefault(known.key, _Place(Part(self._size)))
        place.destinations[destination] = None
        for account_no, count in known.by_account.items():
            place.part.add(account_no, count)
        self._look_at(known.key)

    def _leave(self, destination: int, known: _Destination) -> None:
        place = self._places[known.key]
        del place.destinations[destination]
        for account_no, count in known.by_account.items():
            place.part.add(account_no, -count)
        self._look_at(known.key)
        if not place.destinations:
            del self._places[known.key]

    def _look_at(self, key: Key) -> None:
        place = self._places[key]
        taken, names = place.part.taken, len(place.destinations)
        if taken > self._crowded_from and (taken or names > 1):
            self._crowded.add(key)
        else:
            self._crowded.discard(key)

    def _forget(self) -> None:
        if len(self._known) > KEPT:
            oldest, known = next(iter(self._known.items()))
            if known.by_account:
                self._known.move_to_end(oldest)
            else:
                del self._known[oldest]
                self._leave(oldest, known)


def _room(part: Part, account_no: int) -> int:
    own = part.by_account.get(account_no, 0)
    return max(0, min(part.free, most_for_one(part.free + own) - own))
