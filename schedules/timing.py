"""The time scale of an installation: real time, or shortened time for a demonstration or a test. Pure."""

from dataclasses import replace
from datetime import timedelta

from schedules.catalog import DEFAULT, SCHEDULES
from schedules.retry import RetrySchedule


class Timing:
    """The schedules, timeouts and spans of an installation. `scale` is 1 for real time, less for shortened time; read
    it only for SQL parameters."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._schedules = {
            name: replace(schedule, delays=tuple(delay * scale for delay in schedule.delays))
            for name, schedule in SCHEDULES.items()
        }

    def schedule(self, name: str) -> RetrySchedule:
        """The retry schedule of this name with its delays scaled; the default for an unknown name."""
        return self._schedules.get(name) or self._schedules[DEFAULT.name]

    def timeout(self, seconds: float, *, minimum: float = 0.0) -> float:
        """Scaled seconds, but at least `minimum`: a busy machine must not look like a receiver that hangs. A real-time
        value below `minimum` stays unchanged."""
        return max(seconds * self.scale, min(seconds, minimum))

    def span(self, whole: timedelta) -> timedelta:
        """A scaled span of time."""
        return whole * self.scale


REAL_TIME = Timing(1.0)
