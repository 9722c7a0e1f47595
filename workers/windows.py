"""How many requests each webhook may have in flight: in-process counters that keep one webhook from slowing another.

A window opens at 4, doubles after a full window of quick answers and shrinks to 1 with a failure. While other
webhooks are due, one webhook has at most half of all slots, and all webhooks that fail have half of them together.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

FIRST_WINDOW = 4
QUICK = timedelta(seconds=1)


@dataclass(slots=True)
class _Window:
    size: int = FIRST_WINDOW
    quick: int = 0  # quick answers since it last changed
    failing: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """How many more requests a webhook may have in flight, and whether its last attempt failed."""

    webhook_id: UUID
    free: int
    failing: bool


class Windows:
    """The windows of one loop with `slots` requests in flight at most."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._windows: dict[UUID, _Window] = {}
        self._in_flight: Counter[UUID] = Counter()
        self._failing_in_flight = 0
        self.others_due = False

    @property
    def in_flight(self) -> int:
        return self._in_flight.total()

    @property
    def failing_room(self) -> int:
        """How many more requests all webhooks that fail may have together."""
        return max(0, max(1, self._slots // 2) - self._failing_in_flight)

    def rooms(self) -> list[Room]:
        """The room of each webhook for which it is not simply the first window."""
        known = self._windows.keys() | self._in_flight.keys()
        rooms = [Room(webhook_id, self.room(webhook_id), self._is_failing(webhook_id)) for webhook_id in known]
        return [room for room in rooms if room.failing or room.free != FIRST_WINDOW]

    def room(self, webhook_id: UUID) -> int:
        """How many more requests this webhook may have."""
        window = self._windows.get(webhook_id) or _Window()
        if window.failing and not self.failing_room:
            return 0
        largest = max(1, self._slots // 2) if self.others_due else self._slots
        return max(0, min(window.size, largest) - self._in_flight[webhook_id])

    def sent(self, webhook_id: UUID) -> None:
        self._in_flight[webhook_id] += 1
        if self._is_failing(webhook_id):
            self._failing_in_flight += 1

    def ended(self, webhook_id: UUID, *, failed: bool, duration: timedelta) -> None:
        """An attempt has ended: `failed` is a temporary failure; a rejection is an answer like any other."""
        self._leave(webhook_id)
        window = self._windows.setdefault(webhook_id, _Window())
        if failed != window.failing:
            self._failing_in_flight += self._in_flight[webhook_id] * (1 if failed else -1)
            window.failing, window.quick = failed, 0
            window.size = 1 if failed else FIRST_WINDOW
        elif not failed and duration <= QUICK:
            window.quick += 1
            if window.quick >= window.size:
                window.size, window.quick = min(window.size * 2, self._slots), 0

    def unsent(self, webhook_id: UUID) -> None:
        """It was counted, but nothing was sent."""
        self._leave(webhook_id)

    def _is_failing(self, webhook_id: UUID) -> bool:
        window = self._windows.get(webhook_id)
        return window is not None and window.failing

    def _leave(self, webhook_id: UUID) -> None:
        if self._is_failing(webhook_id):
            self._failing_in_flight -= 1
        self._in_flight[webhook_id] -= 1
        if not self._in_flight[webhook_id]:
            del self._in_flight[webhook_id]
