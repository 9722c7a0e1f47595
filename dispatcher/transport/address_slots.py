"""How many requests may be in flight to one address, whatever their names. Pure: it holds no lock and knows no time."""

from collections import Counter

from dispatcher.accounts.fair_turns import most_for_one

UNBOUNDED = 2**31 - 1


class AddressSlots:
    """The requests in flight by address, `most` each at most, which can be changed. Within them an account has what
    `most_for_one` says."""

    def __init__(self, most: int = UNBOUNDED) -> None:
        self.most = most
        self._taken: Counter[tuple[str, str | None]] = Counter()  # by address and account; None: all accounts

    def take(self, address: str, account: str) -> bool:
        """Takes a slot, which `end` gives back. False if none is left for this account."""
        free, own = self.most - self._taken[address, None], self._taken[address, account]
        if free <= 0 or own >= most_for_one(free + own):
            return False
        self._taken[address, None] += 1
        self._taken[address, account] += 1
        return True

    def end(self, address: str, account: str) -> None:
        """Gives a slot back."""
        for key in ((address, None), (address, account)):
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
