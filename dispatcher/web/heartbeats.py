"""The heartbeats of an API process: in a thread of their own, so that no request waits for one."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.heartbeat import API, Heartbeat
from dispatcher.db.outage_log import OutageLog
from dispatcher.installation import Installation

EVERY = 10.0  # seconds
_ENDS_WITHIN = 2.0  # seconds that the process waits for the last one


class Heartbeats:
    """Of one process, from `begin` to `end`. `installation` is what it serves at that moment, if its settings are
    right."""

    def __init__(self, installation: Callable[[], Installation | None]) -> None:
        self._installation = installation
        self._heartbeat = Heartbeat()
        self._ends = Event()
        self._thread = Thread(target=self._run, name="heartbeats", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ends.set()
        self._thread.join(_ENDS_WITHIN)

    def _run(self) -> None:
        outages = OutageLog()
        while True:
            try:
                if (served := self._installation()) is not None:
                    beaten = self._heartbeat.beat(served.groups, API, "serving", clock=served.clock)
                    served.learn(beaten.binding)
                outages.succeeded()
            except SQLAlchemyError as error:
                outages.failed(error)
            if self._ends.wait(EVERY):
                break
        if (served := self._installation()) is not None:
            with suppress(SQLAlchemyError):  # otherwise its row is forgotten later
                self._heartbeat.leave(served.groups)
