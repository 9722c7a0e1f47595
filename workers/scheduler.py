"""Beat's scheduler, which tells once that the broker is away, and shows that it turns."""

from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from celery.beat import PersistentScheduler, SchedulingError

from dispatcher.metrics.progress import TELL_EVERY, own

log = structlog.get_logger("dispatcher.beat")


class Scheduler(PersistentScheduler):  # type: ignore[misc] # Celery has no types
    """Celery's reports each task that could not be sent, with where in the program that was.

    Beat has no port. The time of a file beside its schedule says when it turned last, for who asks whether it is well.
    """

    _told = False
    _touch_at = 0.0

    def setup_schedule(self) -> None:
        super().setup_schedule()
        own().begin()
        log.info("beat started")

    def tick(self, *given: Any, **named: Any) -> Any:
        own().turned()
        if (now := monotonic()) >= self._touch_at:
            self._touch_at = now + TELL_EVERY
            Path(f"{self.schedule_filename}.turned").touch()
        return super().tick(*given, **named)

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
