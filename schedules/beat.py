"""What happens periodically, as data."""

from dataclasses import dataclass
from datetime import timedelta

SWEEP_EVERY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Periodic:
    """A task of the second node. Its message expires with the next one, so that none pile up. `scaled`: runs more
    often where time is shortened."""

    task: str
    queue: str
    every: timedelta
    scaled: bool = False

    def seconds(self, scale: float) -> float:
        """Seconds between two runs."""
        whole = self.every.total_seconds()
        return max(0.5, whole * scale) if self.scaled else whole


PERIODIC = (
    Periodic("dispatcher.sweep", "upkeep", SWEEP_EVERY, scaled=True),
    Periodic("dispatcher.notices", "mail", timedelta(seconds=30)),
    Periodic("dispatcher.redeliver", "upkeep", SWEEP_EVERY, scaled=True),
    Periodic("dispatcher.upkeep", "upkeep", timedelta(minutes=1), scaled=True),
)
