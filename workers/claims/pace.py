"""When a loop claims next. Pure.

At once while more is available; soon while work is found, later and later the longer there is none. Where claims take
long, they become fewer and larger. A parked loop claims when it is told to: by itself only while more may become
available without anybody telling it, and otherwise rarely. Times are monotonic seconds.
"""

from math import inf

from workers.claims.claims import Claimed

SHORTEST_POLL, LONGEST_POLL = 0.005, 0.05  # seconds until an awake loop sees new work
POLL = 0.05  # of the time in which nothing was found
REST = 3  # pause after a claim, in times its duration; shorter if half of what should end soon has ended
LOOK_AGAIN = 0.02  # seconds after which a parked loop that found something looks again
CALM = 0.005  # seconds after which it lets itself be told again: meanwhile it sends, and others have their hands free
PASSING_EVERY = 1.0  # seconds between two looks for deliveries that pass an open circuit
LONG = 0.02  # a claim that took so many seconds is followed by a rest, whatever a parked loop is told


class Pace:
    """`next_at` is when to claim next at the latest. `nothing_due`: the last claim found that nothing is available
    now. `paced`: something is due, and only a rate limit keeps it waiting. `calm_at` is from when on a parked loop that
    has something in flight should let itself be told that there is more."""

    def __init__(self) -> None:
        self.look_every: float | None = None  # of a loop that is told of work, while there is none
        self.calm_at = 0.0
        self.nothing_due = self.paced = False
        self._at_once_below = 0  # requests in flight
        self._found_at = -inf
        self._claim_at = self._passing_at = 0.0
        self._rests_until = 0.0  # after a claim that took long
        self._owes_passing = False  # the loop was told something, and did not look yet at what passes open circuits

    @property
    def next_at(self) -> float:
        return min(self._claim_at, self._passing_at) if self._owes_passing else self._claim_at

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
        self._claim_at = now + rest
        self._at_once_below = waits_long + (in_flight - waits_long + found) // 2 if found else 0
        if self.look_every is None:
            return
        self._rests_until = now + (REST * took if took > LONG else 0)
        self.calm_at = max(self._rests_until, now + CALM if found else now)
        if self.nothing_due and not (claimed.ready and in_flight):
            self._claim_at = now + self.look_every
        elif found and claimed.round_done and not (claimed.full or claimed.paced):
            self._claim_at = max(self._claim_at, now + LOOK_AGAIN)
        # Otherwise what was passed over for want of room may be waiting, which nobody tells again.

    def told(self, now: float) -> None:
        """A parked loop was told that something is due. It looks at what is ready first, which is more often it."""
        self.nothing_due = False
        self._claim_at = self._rests_until
        self._passing_at, self._owes_passing = max(self._passing_at, now + CALM), True

    def looks_at_passing(self, now: float) -> bool:
        """Whether a claim that is made now looks at what passes open circuits, too."""
        if now < self._passing_at:
            return False
        self._passing_at, self._owes_passing = now + PASSING_EVERY, False
        return True

    def start_again(self) -> None:
        """A last look at everything is made."""
        self.nothing_due, self._passing_at = False, 0.0

    def pause(self, seconds: float, now: float) -> None:
        """Nothing can be claimed for so long: the database is unavailable."""
        self.nothing_due, self._at_once_below = True, 0
        self._claim_at = self._rests_until = now + seconds
        self._passing_at = max(self._passing_at, now + seconds)
