"""How long a loop lives, and how long after that what it has in flight. Pure. Times are monotonic seconds."""

import random

LONGEST_LIFE = 3600.0  # seconds


class Lifetime:
    """Of one loop that begins at `now`."""

    def __init__(self, now: float, grace_seconds: float) -> None:
        # Loops that one wake started must not all end at the same time.
        self._ends_at = now + LONGEST_LIFE * random.uniform(0.75, 1)  # noqa: S311
        self._grace_seconds = grace_seconds
        self._grace_ends: float | None = None

    def is_over(self, now: float) -> bool:
        return now >= self._ends_at

    def grace_is_over(self, now: float, *, stopping: bool, asked_at: float) -> bool:
        """Whether a loop has been stopping for longer than its requests in flight may take. It was `asked_at` to: while
        it waits for a silent database it does not see that."""
        if self._grace_ends is None and stopping:
            self._grace_ends = min(now, asked_at) + self._grace_seconds
        return self._grace_ends is not None and now >= self._grace_ends
