"""How many requests of one account that keep a thread busy, or whose answers nobody takes, run at once in this process:
the others wait for their turn, without a thread."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from dispatcher.errors import AccountAtLimit

READS_AT_ONCE = 1  # what they compute keeps the threads of others waiting
UNSENT_AT_ONCE = 8  # whose answers are on their way: each can have megabytes, and a client may not take them
LARGE_EVENTS_AT_ONCE = 1  # the same, while they are read
BATCHES_AT_ONCE = 2  # of events: one is taken apart while the other is stored
ENTRIES_AT_ONCE = 1  # each has the database asked for what anybody may show
WRITES_AT_ONCE = 6  # four of them may wait for URL verifications
MOST_WAITING = 100


class _Queue:
    def __init__(self, at_once: int) -> None:
        self.turn = asyncio.Semaphore(at_once)  # in the order of coming
        self.requests = 0  # that run or wait


class AccountTurns:
    """The requests of one kind of each account, or of another owner. Used by one event loop."""

    def __init__(self, at_once: int, what: str, owner: str = "account") -> None:
        """`what` they do, after "requests of the account that"."""
        self._at_once, self._what, self._owner = at_once, what, owner
        self._queues: dict[Hashable, _Queue] = {}

    @asynccontextmanager
    async def turn(self, owner: Hashable | None, *, begun: bool = False) -> AsyncIterator[None]:
        """Runs the block when it is its turn; for an operator (None) at once. Raises AccountAtLimit if many wait
        already, but not for the rest of a request that has `begun`."""
        if owner is None:
            yield
            return
        queue = self._queues.setdefault(owner, _Queue(self._at_once))
        if queue.requests >= self._at_once + MOST_WAITING and not begun:
            raise AccountAtLimit(f"{MOST_WAITING} requests of the {self._owner} that {self._what} are waiting already")
        queue.requests += 1
        try:
            async with queue.turn:
                yield
        finally:
            queue.requests -= 1
            if not queue.requests:
                del self._queues[owner]
