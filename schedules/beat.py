"""The periodic tasks, as data."""

from dataclasses import dataclass
from datetime import timedelta

from schedules.timing import Timing

SWEEP_EVERY = timedelta(seconds=5)
MIN_SECONDS = 0.5  # between two runs, however much time is scaled


@dataclass(frozen=True, slots=True)
class Periodic:
    """A periodic task of the maintenance worker. Its message expires after two intervals and the hour by which clocks
    may differ, so that messages do not pile up for ever. `scaled`: runs more often where time is shortened."""

    task: str
    queue: str
    every: timedelta
    scaled: bool = False

    def seconds(self, timing: Timing) -> float:
        """Seconds between two runs."""
        whole = self.every.total_seconds()
        return timing.timeout(whole, minimum=MIN_SECONDS) if self.scaled else whole


SWEEP = Periodic("dispatcher.sweep", "upkeep", SWEEP_EVERY, scaled=True)
UPKEEP = Periodic("dispatcher.upkeep", "upkeep", timedelta(minutes=1), scaled=True)
PERIODIC = (
    SWEEP,
    Periodic("dispatcher.notices", "mail", timedelta(seconds=30)),
    Periodic("dispatcher.redeliver", "upkeep", SWEEP_EVERY, scaled=True),
    UPKEEP,
)
