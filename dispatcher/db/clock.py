"""The database's time, as a process knows it without asking: its own clock, put right by what the database says.

So nothing depends on how well the clocks of hosts agree: what is compared with the database carries its time.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from dispatcher.ids import new_id, new_id_text

log = logging.getLogger("dispatcher.db.clock")

Nanoseconds: TypeAlias = Callable[[], int]  # since 1970

_SECOND = 1_000_000_000
EXACT = _SECOND  # a smaller difference is left: ids that are made in sequence must sort in that order
TOLD = timedelta(seconds=30)
_NOW = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class DatabaseClock:
    """Of one database; several threads may use it. `own` is the machine's clock. `offset` is what is added to it;
    `is_known`: the database has said its time."""

    def __init__(self, own: Nanoseconds = time.time_ns) -> None:
        self.own = own
        self.is_known = False
        self.offset = timedelta(0)
        self._ahead = 0  # nanoseconds; the same
        self._is_told = False

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def timestamp(self) -> float:
        """Seconds since 1970."""
        return (self.own() + self._ahead) / _SECOND

    def new_id(self) -> UUID:
        return new_id(self.own() + self._ahead)

    def new_id_text(self) -> str:
        return new_id_text(self.own() + self._ahead)

    def learn(self, database_seconds: float, asked: int) -> None:
        """The database has said its time, in answer to a statement that was sent when `own()` was `asked`."""
        answered, said = self.own(), int(database_seconds * _SECOND)
        self.is_known = True
        for ahead in (self._ahead, 0):
            if asked - EXACT <= said - ahead <= answered + EXACT:
                self._ahead = ahead
                break
        else:
            self._ahead = said - (asked + answered) // 2
        self.offset = timedelta(microseconds=self._ahead // 1_000)
        self._tell()

    def ask(self, connection: Any, _record: object = None) -> None:
        """Asks the database, on a connection of the driver that is in no transaction; as an engine's event `connect`
        does with a new one."""
        asked = self.own()
        with closing(connection.cursor()) as cursor:
            cursor.execute(_NOW)
            (said,) = cursor.fetchone()
        if not connection.autocommit:
            connection.rollback()
        self.learn(said, asked)

    def _tell(self) -> None:
        is_off = abs(self.offset) > TOLD
        if is_off and not self._is_told:
            seconds, side = abs(self.offset).total_seconds(), "behind" if self._ahead > 0 else "ahead of"
            log.warning(
                "this machine's clock is %.0f s %s the database's, whose time is used: set it right", seconds, side
            )
        elif self._is_told and not is_off:
            log.info("this machine's clock agrees with the database's again")
        self._is_told = is_off
