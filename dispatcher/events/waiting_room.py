"""Where events wait for the group that they are stored with: bounded, and by turns of their accounts. Pure: it holds no
lock and knows no time."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from dispatcher.errors import TooBusy

ROOM, ROOM_BYTES = 4_000, 32 * 1024 * 1024  # what may wait in one process
GROUP, GROUP_BYTES = 1_000, 4 * 1024 * 1024  # what one statement stores
GROUP_DELIVERIES = 4_000  # as expected: so a group takes tens of milliseconds at most


class Waiting(Protocol):
    """What waits: whose it is, and its bytes."""

    account: str
    size: int


W = TypeVar("W", bound=Waiting)


class Room:
    """How many events, and how many bytes of them, have a place. An account may have half of what the others leave: so
    one that comes finds room, however many events another has here."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._count = self._all_bytes = 0

    def enter(self, account: str, size: int) -> None:
        """Raises TooBusy if there is no room for it."""
        own, own_bytes = self._counts[account], self._bytes[account]
        others, others_bytes = self._count - own, self._all_bytes - own_bytes
        if own >= (ROOM - others) // 2 or own_bytes + size > (ROOM_BYTES - others_bytes) // 2:
            raise TooBusy("too many events of this account are waiting to be stored")
        self._moved(account, 1, size)

    def leave(self, account: str, size: int) -> None:
        """Gives back what `enter` took."""
        self._moved(account, -1, -size)

    def _moved(self, account: str, count: int, size: int) -> None:
        self._count += count
        self._all_bytes += size
        self._counts[account] += count
        self._bytes[account] += size
        if not self._counts[account]:
            del self._counts[account], self._bytes[account]


class WaitingRoom(Generic[W]):
    """What waits to be stored in groups. Whatever has room here is in one of the next groups, by turns of accounts."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[W]] = OrderedDict()  # the account that had its turn last comes last
        self._room = Room()

    def add(self, one: W) -> None:
        """Raises TooBusy if there is no room for it."""
        self._room.enter(one.account, one.size)
        self._waiting.setdefault(one.account, deque()).append(one)

    def remove(self, one: W) -> bool:
        """Whether it was still waiting; it is not any more."""
        own = self._waiting.get(one.account)
        if own is None or one not in own:
            return False
        own.remove(one)
        self._left(one, own)
        return True

    def first(self) -> W | None:
        """One that the next group will have."""
        return next(iter(self._waiting.values()))[0] if self._waiting else None

    def take(self, expected: Callable[[W, bool], int]) -> list[W]:
        """The next group: one of each account in turn, until it is large enough. `expected` says how many deliveries
        one will probably have, and is told whether it is the first of its account in this group."""
        group: list[W] = []
        size = deliveries = 0
        accounts = len(self._waiting)
        while self._waiting and len(group) < GROUP and size < GROUP_BYTES and deliveries < GROUP_DELIVERIES:
            own = next(iter(self._waiting.values()))
            one = own.popleft()
            self._left(one, own)
            size, deliveries = size + one.size, deliveries + expected(one, len(group) < accounts)
            group.append(one)
        return group

    def _left(self, one: W, own: deque[W]) -> None:
        self._room.leave(one.account, one.size)
        if own:
            self._waiting.move_to_end(one.account)
        else:
            del self._waiting[one.account]
