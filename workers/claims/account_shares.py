"""How accounts share the in-flight slots, and each part of them that only some requests may use. Pure.

An account that is alone may use a whole part but the reserve, an eighth of all slots. While others are served it may
have half of what they leave: one has half, two have a third each, hundreds fill all. So whoever comes next finds
something free, and does not wait for requests that hang.
"""

from math import inf
from typing import Generic, TypeVar

Key = TypeVar("Key")

OTHERS_REMEMBERED = 2.0  # seconds for which one counts as served after its last request was sent
NOBODY = -1  # the number of no account: its room is that of any account that has nothing in flight


class Latest(Generic[Key]):
    """When the two that were sent something last were sent it. Times are monotonic seconds."""

    def __init__(self, nobody: Key) -> None:
        self.last = nobody
        self._at = self._other_at = -inf

    def note(self, one: Key, now: float) -> None:
        if one != self.last:
            self.last, self._other_at = one, self._at
        self._at = now

    def is_alone(self, one: Key, now: float) -> bool:
        """Whether no other one was sent something lately."""
        return now - (self._other_at if one == self.last else self._at) >= OTHERS_REMEMBERED


class Part:
    """A number of slots that some requests share, and how many of them each account has taken."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self.by_account: dict[int, int] = {}

    @property
    def free(self) -> int:
        return self.size - self.taken

    def add(self, account_no: int, count: int) -> None:
        self.taken += count
        own = self.by_account.get(account_no, 0) + count
        if own:
            self.by_account[account_no] = own
        else:
            self.by_account.pop(account_no, None)

    def half_left(self, own: int) -> int:
        """How many more someone with `own` may take, to have half of what the others leave."""
        return min(self.free, max(1, (self.free + own + 1) // 2) - own)


class AccountShares:
    """How many more slots each account may take."""

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._latest = Latest(NOBODY)

    def note(self, account_no: int, now: float) -> None:
        """A request of this account was sent."""
        self._latest.note(account_no, now)

    def is_shared(self, now: float) -> bool:
        """Whether several accounts were sent something lately."""
        return not self._latest.is_alone(self._latest.last, now)

    def with_own_room(self, part: Part) -> set[int]:
        """The accounts whose room is not `NOBODY`'s: those with something in this part, and the one served last, which
        may be alone."""
        return {*part.by_account, self._latest.last} - {NOBODY}

    def room(self, account_no: int, parts: tuple[Part, ...], now: float) -> int:
        """How many more requests that use all of these parts the account may have in flight."""
        room = min(part.half_left(part.by_account.get(account_no, 0)) for part in parts)
        if self._latest.is_alone(account_no, now):
            room = max(room, min(part.free for part in parts) - self._reserve)
        return max(0, room)

    def most_room(self, parts: tuple[Part, ...], now: float) -> int:
        """The room of the account that has most."""
        return max(self.room(account_no, parts, now) for account_no in (NOBODY, self._latest.last))

    def least_room(self, parts: tuple[Part, ...], now: float) -> int:
        """The room of the account that has least."""
        return min(
            self.room(max(part.by_account, key=part.by_account.__getitem__, default=NOBODY), parts, now)
            for part in parts
        )
