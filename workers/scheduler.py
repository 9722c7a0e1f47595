"""Beat's scheduler, which tells once that the broker is away."""

from typing import Any

import structlog
from celery.beat import PersistentScheduler, SchedulingError

log = structlog.get_logger("dispatcher.beat")


class Scheduler(PersistentScheduler):  # type: ignore[misc] # Celery has no types
    """Celery's reports each task that could not be sent, with where in the program that was."""

    _told = False

    def setup_schedule(self) -> None:
        super().setup_schedule()
        log.info("beat started")

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            if not self._told:
                cause = error.__context__ and error.__context__.__cause__
                log.warning("the broker does not answer: no tasks are sent", error=type(cause or error).__name__)
            self._told = True
        else:
            if self._told:
                log.info("the broker answers again")
            self._told = False
