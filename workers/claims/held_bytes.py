"""How many bytes of messages a loop holds, and how many more each account may have. Pure.

A message is in memory from its claim until its result is written: before it is sent, while it is in flight, and after.
While others hold something, an account may hold at most half of what they leave. So accounts with small messages go on,
however many large ones another has.
"""

from collections import Counter
from collections.abc import Iterable

from workers.claims.claims import Attempt, Claim

MOST = 8 * 1024 * 1024  # with it, a child at full load has less than 150 MB
BYTES_BESIDE_OTHERS = 512 * 1024  # per claim and account while several are served: large ones hold up small ones
SMALL = MOST // 64  # not worth counting by account
LEAST = 64 * 1024  # after refused allocations


class HeldBytes:
    """The messages of one loop, in bytes by account. `attempts`: which ones they are for; each counts once."""

    def __init__(self) -> None:
        self.attempts: set[Attempt] = set()
        self._held: Counter[int] = Counter()
        self._total = 0
        self.allowed = MOST

    @property
    def free(self) -> int:
        """How many more may be claimed."""
        return self.allowed - self._total

    def shrink(self) -> bool:
        """There was not enough memory: from now on half as much is held, and more again with each message whose result
        is written. Returns False if it is the least already."""
        before, self.allowed = self.allowed, max(self.allowed // 2, LEAST)
        return self.allowed < before

    def add(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if claim.attempt not in self.attempts:
                self.attempts.add(claim.attempt)
                self._held[claim.account_no] += len(claim.data)
                self._total += len(claim.data)

    def remove(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if claim.attempt not in self.attempts:
                continue
            self.attempts.remove(claim.attempt)
            self._total -= len(claim.data)
            self.allowed = min(self.allowed + len(claim.data), MOST)
            self._held[claim.account_no] -= len(claim.data)
            if not self._held[claim.account_no]:
                del self._held[claim.account_no]

    def by_account(self) -> dict[int, int]:
        """How many more each account with much may have; not positive: none. Any other may have half of `free`."""
        return {account: self._most(held) - held for account, held in self._held.items() if held > SMALL}

    def _most(self, held: int) -> int:
        others = self._total - held
        return (self.allowed - others) // 2 if others else self.allowed - self.allowed // 8
