"""How many reads of one account run at once in this process: the others wait for their turn, without a thread."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from dispatcher.errors import AccountAtLimit

AT_ONCE = 1  # reads of an account: what they compute keeps the threads of others waiting
MOST_WAITING = 100  # reads of an account


@dataclass(slots=True)
class _Queue:
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))  # in the order of coming
    reads: int = 0  # that run or wait


class ReadingTurns:
    """The reads of each account. Used by one event loop."""

    def __init__(self) -> None:
        self._queues: dict[UUID, _Queue] = {}

    @asynccontextmanager
    async def turn(self, account: UUID | None, *, begun: bool = False) -> AsyncIterator[None]:
        """Runs the block when it is its turn; for an operator (None) at once. Raises AccountAtLimit if many wait
        already, but not for the rest of a read that has `begun`."""
        if account is None:
            yield
            return
        queue = self._queues.setdefault(account, _Queue())
        if queue.reads >= AT_ONCE + MOST_WAITING and not begun:
            raise AccountAtLimit(f"{MOST_WAITING} requests of the account that read are waiting already")
        queue.reads += 1
        try:
            async with queue.turn:
                yield
        finally:
            queue.reads -= 1
            if not queue.reads:
                del self._queues[account]
