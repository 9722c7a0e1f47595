"""Where events wait for the group that they are stored with: bounded, and by turns of their accounts. Pure: it holds no
lock and knows no time."""

from collections import Counter, OrderedDict, deque
from typing import Generic, Protocol, TypeVar

from dispatcher.errors import TooBusy

ROOM, ROOM_BYTES = 4_000, 32 * 1024 * 1024  # what may wait in one process
GROUP, GROUP_BYTES = 1_000, 4 * 1024 * 1024  # what one statement stores
GROUP_DELIVERIES = 4_000  # as expected: so a group takes tens of milliseconds at most


class Waiting(Protocol):
    """What waits: whose it is, its bytes, and how many deliveries it is expected to have."""

    account: str
    size: int
    expected: int


W = TypeVar("W", bound=Waiting)


class WaitingRoom(Generic[W]):
    """What waits to be stored. An account may have half of what the others leave: so one that comes finds room, however
    many events of another wait, and its event is in the next group."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[W]] = OrderedDict()  # the account that had its turn last comes last
        self._bytes: Counter[str] = Counter()
        self._count = self._all_bytes = 0

    def add(self, one: W) -> None:
        """Raises TooBusy if there is no room for it."""
        own = self._waiting.get(one.account)
        own_count, own_bytes = len(own) if own is not None else 0, self._bytes[one.account]
        others, others_bytes = self._count - own_count, self._all_bytes - own_bytes
        if own_count >= (ROOM - others) // 2 or own_bytes + one.size > (ROOM_BYTES - others_bytes) // 2:
            raise TooBusy("too many events of this account are waiting to be stored")
        if own is None:
            own = self._waiting[one.account] = deque()
        own.append(one)
        self._moved(one, 1)

    def remove(self, one: W) -> bool:
        """Whether it was still waiting; it is not any more."""
        own = self._waiting.get(one.account)
        if own is None or one not in own:
            return False
        own.remove(one)
        self._left(one.account, own)
        self._moved(one, -1)
        return True

    def first(self) -> W | None:
        """One that the next group will have."""
        return next(iter(self._waiting.values()))[0] if self._waiting else None

    def take(self) -> list[W]:
        """The next group: one of each account in turn, until it is large enough."""
        group: list[W] = []
        size = expected = 0
        while self._waiting and len(group) < GROUP and size < GROUP_BYTES and expected < GROUP_DELIVERIES:
            account, own = next(iter(self._waiting.items()))
            one = own.popleft()
            self._left(account, own)
            self._moved(one, -1)
            group.append(one)
            size, expected = size + one.size, expected + one.expected
        return group

    def _left(self, account: str, own: deque[W]) -> None:
        if own:
            self._waiting.move_to_end(account)
        else:
            del self._waiting[account]

    def _moved(self, one: W, count: int) -> None:
        self._count += count
        self._all_bytes += count * one.size
        self._bytes[one.account] += count * one.size
        if not self._bytes[one.account]:
            del self._bytes[one.account]
