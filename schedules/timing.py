"""The time scale of an installation: real time, or time that is shortened for a demonstration or a test. Pure."""

from dataclasses import replace
from datetime import timedelta

from schedules.catalog import DEFAULT, SCHEDULES
from schedules.retry import RetrySchedule


class Timing:
    """Schedules, timeouts and spans as an installation has them. `scale` is 1 for real time, less for shortened time;
    it is to be read for parameters of SQL only."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._schedules = {
            name: replace(schedule, delays=tuple(delay * scale for delay in schedule.delays))
            for name, schedule in SCHEDULES.items()
        }

    def schedule(self, name: str) -> RetrySchedule:
        """The retry schedule of this name with its delays scaled; the default for a name that nobody knows."""
        return self._schedules.get(name) or self._schedules[DEFAULT.name]

    def timeout(self, seconds: float, *, minimum: float = 0.0) -> float:
        """Scaled seconds, but not fewer than `minimum`: a busy machine must not look like a receiver that hangs. What
        is shorter than that in real time stays as it is."""
        return max(seconds * self.scale, min(seconds, minimum))

    def span(self, whole: timedelta) -> timedelta:
        """A scaled span of time."""
        return whole * self.scale


REAL_TIME = Timing(1.0)
