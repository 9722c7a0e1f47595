"""Who gets the next of a few slots: accounts take turns, and none can take them all. Pure: it holds no lock and knows
no time."""

from collections import Counter
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


def most_for_one(left: int) -> int:
    """How many slots one account may have, of those that the others leave: seven eighths, so that an account that comes
    finds some free."""
    return max(1, left * 7 // 8)


class Turn(NamedTuple):
    """What a slot is taken for. What is `doubtful` (it hung before, or is much work) comes after the rest of its
    account, and has at most half of the slots that its account may have."""

    account: str
    doubtful: bool = False


class FairTurns(Generic[Item]):
    """The slots that are taken, and what waits for one, by account.

    An account has what `most_for_one` says: alone 56 of 64, two 30 each. So the next one to come never waits for those
    that hang. A slot is given to the account that has waited longest for a turn; what one account waits for is served
    in its order.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._held: Counter[Turn] = Counter()
        self._waiting: dict[Turn, dict[Item, None]] = {}  # ordered sets; the one that had its turn last comes last

    def wait(self, turn: Turn, item: Item) -> None:
        """Lets an item wait for a slot."""
        self._waiting.setdefault(turn, {})[item] = None

    def leave(self, turn: Turn, item: Item) -> None:
        """The item waits no longer, if it did."""
        items = self._waiting.get(turn, {})
        items.pop(item, None)
        if not items:
            self._waiting.pop(turn, None)

    def take(self) -> tuple[Turn, Item] | None:
        """The item whose turn it is, with its slot, which `end` gives back. None if nothing may begin."""
        for turn, items in self._waiting.items() if self._free else ():
            if self._may_begin(turn):
                item = next(iter(items))
                self.leave(turn, item)
                if items:
                    self._waiting[turn] = self._waiting.pop(turn)
                self._held[turn] += 1
                self._free -= 1
                return turn, item
        return None

    def end(self, turn: Turn) -> None:
        """Gives a slot back."""
        self._free += 1
        self._held[turn] -= 1
        if not self._held[turn]:
            del self._held[turn]

    def _may_begin(self, turn: Turn) -> bool:
        usual, doubtful = Turn(turn.account), Turn(turn.account, doubtful=True)
        held = self._held[usual] + self._held[doubtful]
        most = most_for_one(self._free + held)
        if held >= most:
            return False
        return not turn.doubtful or (usual not in self._waiting and self._held[doubtful] < max(1, most // 2))
