"""Counts the events and deliveries of a running engine every few seconds, at a bounded cost."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.engines import make_engine
from dispatcher.db.outages import explain_outage
from dispatcher.embedded.errors import ServerAway
from dispatcher.embedded.given_servers import ask_broker

MAX = 100_000  # rows counted at most
_PAUSE_SECONDS = 3.0

_EVENTS = text("SELECT count(*) FROM (SELECT 1 FROM dispatcher.events LIMIT :most) AS counted")
_DELIVERIES = text(
    "SELECT state, count(*) AS number FROM (SELECT state FROM dispatcher.deliveries ORDER BY id DESC LIMIT :most) AS "
    "counted GROUP BY state ORDER BY state"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of events, and of deliveries by state. At most `MAX` events and the newest `MAX` deliveries are
    counted."""

    events: int
    deliveries: Mapping[str, int]


class Counters:
    """Counts in its own thread while it is entered. `counts` is the last result. `problem` says which server cannot be
    used; None if all can."""

    def __init__(self, database_url: str, broker_url: str) -> None:
        self.counts: Counts | None = None
        self.problem: str | None = None
        self._broker_url = broker_url
        self._engine = make_engine(database_url, application_name="dispatcher-up", autocommit=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="counters", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.counts = count(self._engine)
                ask_broker(self._broker_url)
            except SQLAlchemyError as error:
                self.problem = explain_outage(error) or f"the database fails: {type(error).__name__}"
            except ServerAway as error:
                self.problem = str(error)
            else:
                self.problem = None
            self._ended.wait(_PAUSE_SECONDS)
        self._engine.dispose()


def count(engine: Engine) -> Counts:
    """Counts once. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        events = connection.execute(_EVENTS, {"most": MAX}).scalar_one()
        found = connection.execute(_DELIVERIES, {"most": MAX}).all()
    return Counts(events, {row.state: row.number for row in found})
