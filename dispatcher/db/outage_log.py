"""Says once that the database cannot be used, and once that it can again: processes try again every second."""

import logging
from collections.abc import Callable
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.outages import explain_outage

log = logging.getLogger("dispatcher.db")

CALM = 6.0  # seconds without a failure, after which an outage is over: while a disk is full, some statements succeed


class OutageLog:
    """Of one process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began_at: float | None = None
        self._failed_at = 0.0

    def failed(self, error: Exception) -> None:
        """A statement failed because of an outage, or of what others have locked."""
        self._failed_at = self._clock()
        if self._began_at is None:
            self._began_at = self._failed_at
            why = explain_outage(error) if isinstance(error, SQLAlchemyError) else None
            kind = type(getattr(error, "orig", error)).__name__
            log.warning("%s (%s): what has to do with it is tried again", why or "the database fails", kind)

    def succeeded(self) -> None:
        """A statement succeeded."""
        if self._began_at is not None and self._clock() >= self._failed_at + CALM:
            log.warning("the database can be used again; the outage took %.0f s", self._failed_at - self._began_at)
            self._began_at = None
