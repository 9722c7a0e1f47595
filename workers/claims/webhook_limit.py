"""How the concurrency limit of one webhook grows and shrinks with its answers. Pure.

It doubles after as many answers in time as it allows requests, and is halved after as many late ones. "In time" is
within a second, or within one and a half times what the webhook takes while little is in flight. So a slow receiver
gets what it can take: when more requests only make its answers later, the limit stops growing.
"""

from dataclasses import dataclass
from math import inf

FIRST_LIMIT = 4
QUICK = 1.0  # seconds within which an answer always counts as in time


@dataclass(slots=True, kw_only=True)
class WebhookLimit:
    """The limit, and what is known of the answers. Durations are in seconds."""

    size: int
    score: int = 0  # answers in time minus late ones, since the size last changed
    fastest: float = inf  # answer
    average: float = 0.0  # of the answers, the last ones foremost; 0 before the first
    unhurried: float = 0.0  # the same of the answers that were given with little else in flight
    in_flight: int = 0
    waits_since: float = 0.0  # monotonic: the last answer, or the first request after an idle time

    @property
    def is_slow(self) -> bool:
        return self.average > QUICK

    def is_stalled(self, now: float) -> bool:
        """Whether it is silent for longer than its answers explain."""
        return self.in_flight > 0 and now - self.waits_since > max(QUICK, 2 * self.average)

    def learn(self, seconds: float) -> None:
        """Notes how long an answer took."""
        self.average = _averaged(self.average, seconds)
        if self.in_flight < FIRST_LIMIT:
            self.unhurried = _averaged(self.unhurried, seconds)

    def score_answer(self, seconds: float, most: int, *, may_grow: bool) -> None:
        """Lets an answer count; the limit does not grow beyond `most`."""
        in_time = seconds <= max(QUICK, 1.5 * self.unhurried)
        if not in_time:
            self.score -= 1
        elif may_grow:
            self.score += 1
        if self.score >= self.size:
            self.resize(min(2 * self.size, most))
        elif self.score <= -self.size:
            self.resize(max(FIRST_LIMIT, self.size // 2))

    def resize(self, size: int) -> None:
        self.size, self.score = size, 0


def _averaged(average: float, value: float) -> float:
    return 0.8 * average + 0.2 * value if average else value
