"""When a loop claims next. Pure.

At once while more is available; soon while work is found, later and later the longer there is none. Where claims take
long, they become fewer and larger. Times are monotonic seconds.
"""

from math import inf

from workers.claims.claims import Claimed

SHORTEST_POLL, LONGEST_POLL = 0.005, 0.05  # seconds until an awake loop sees new work
POLL = 0.05  # of the time in which nothing was found
REST = 3  # pause after a claim, in times its duration; shorter if half of what should end soon has ended


class Pace:
    """`next_at` is when to claim next at the latest. `nothing_due`: the last claim found that nothing is available
    now. `paced`: something is due, and only a rate limit keeps it waiting."""

    def __init__(self) -> None:
        self.next_at = 0.0
        self.nothing_due = self.paced = False
        self._at_once_below = 0  # requests in flight
        self._found_at = -inf

    def may_claim(self, in_flight: int, now: float) -> bool:
        return now >= self.next_at or in_flight < self._at_once_below

    def claimed(
        self, claimed: Claimed, found: int, *, in_flight: int, waits_long: int, took: float, now: float
    ) -> None:
        """A claim of `took` seconds has ended: it found so many deliveries. `waits_long` of the requests in flight will
        not end soon, so nothing should wait for them."""
        self.paced = claimed.paced
        self.nothing_due = not found and claimed.round_done and not claimed.paced
        if found:
            self._found_at = now
        poll = min(max(SHORTEST_POLL, POLL * (now - self._found_at)), LONGEST_POLL)
        # Where nothing was found and the round goes on, as long as the empty claim took: it must not fill all the time.
        rest = max(poll, REST * took) if claimed.round_done or claimed.full else 0 if found else took
        self.next_at = now + rest
        self._at_once_below = waits_long + (in_flight - waits_long + found) // 2 if found else 0

    def pause(self, seconds: float, now: float) -> None:
        """Nothing can be claimed for so long: the database is unavailable."""
        self.nothing_due = True
        self.next_at = now + seconds
