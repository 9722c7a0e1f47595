"""The wake flag of one loop that ends when nothing is due: it keeps producers from waking other loops while this one
sees their events by itself. Parked loops have the bell instead. Loops of versions before the bell have only the flag,
so producers look at both."""

from math import inf

from dispatcher.wake import AWAKE_SECONDS, Waker


class WakeFlag:
    """`renew_at` is when it must be set again, monotonic; infinite before the first time."""

    def __init__(self, waker: Waker, task: str) -> None:
        self._waker, self._task = waker, task
        self._is_set = False
        self.renew_at = inf

    def keep(self, now: float, *, has_room: bool) -> None:
        """Renews the flag. Clears it while the loop has no room, so that the next event wakes a loop that has."""
        if now < self.renew_at and has_room == self._is_set:
            return
        self.renew_at = now + AWAKE_SECONDS / 3
        if has_room:
            self._waker.awake(self._task)
        elif self._is_set:
            self._waker.asleep(self._task)
        self._is_set = has_room

    def clear(self) -> None:
        """Clears it until it is kept again."""
        self._waker.asleep(self._task)
        self.renew_at = 0.0
