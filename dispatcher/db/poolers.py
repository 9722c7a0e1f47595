"""Connections that lead to a pooler, such as PgBouncer: each transaction can be in another server session.

So nothing is kept in a session. What a session of our own is told when it begins, each transaction is told here, in one
message with its first statement: that takes no round trip.
"""

from collections.abc import Mapping
from typing import Any

from psycopg2 import extensions
from sqlalchemy import Connection, text

from dispatcher.db.outages import FOR_POOLERS
from dispatcher.db.silence import WatchedCursor
from dispatcher.errors import ConfigurationError

POOLED = "dispatcher_pooled"  # in what a pool keeps of a connection: whether it leads to a pooler
LONGEST_IDLE = "1min"  # of an open transaction, as PostgreSQL writes it

_LONGEST_IDLE = text("SHOW idle_in_transaction_session_timeout")


def cursors_telling(session: Mapping[str, str]) -> type[WatchedCursor]:
    """Cursors that tell each transaction what else a session would be told."""
    told = "".join(f"SET LOCAL {name} = '{value}'; " for name, value in session.items())

    class TellingCursor(WatchedCursor):
        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's name
            # The server makes one transaction of a message, also where each statement is its own.
            is_first = self.connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
            super().execute(told + query if is_first else query, vars)

    return TellingCursor


def mark(_connection: Any, record: Any) -> None:
    """For an engine's event `connect`."""
    record.info[POOLED] = True


def check_told(connection: Connection) -> None:
    """Raises ConfigurationError where a pooler drops what sessions are told: no statement would have a limit then, and
    one session's statements could be in another."""
    if connection.scalar(_LONGEST_IDLE) != LONGEST_IDLE:
        raise ConfigurationError(f"DATABASE_URL leads to a pooler that drops the options of sessions: {FOR_POOLERS}")
