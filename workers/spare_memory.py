"""Gives back what a burst of deliveries needed, once a loop has nothing to do: a loop may be parked for an hour."""

from dispatcher.memory import give_back
from dispatcher.transport.port import Transport

MANY = 1_000  # deliveries: as many took memory that will not be needed for a while
REST = 5.0  # seconds without a delivery: giving back takes 0.1 s, in which nothing else is done


class SpareMemory:
    """Of one loop."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._claimed = self._given_back = 0
        self._rests_since = 0.0

    def rest(self, claimed: int, now: float) -> None:
        """The loop, which has claimed so many deliveries so far, has nothing to do; `now` is monotonic."""
        if claimed != self._claimed:
            self._claimed, self._rests_since = claimed, now
        elif now >= self._rests_since + REST:
            self.end(claimed)

    def end(self, claimed: int) -> None:
        """The loop ends."""
        if claimed >= self._given_back + MANY:
            self._given_back = claimed
            self._transport.shrink()
            give_back()
