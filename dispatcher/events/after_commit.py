"""Wakes the workers once SQLAlchemy has committed a transaction of the caller's: of a session or of a connection.

SQLAlchemy tells of a commit before it begins. So what is to be woken waits until the connection is given back, as a
session does at once, or begins its next transaction.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from sqlalchemy import Connection, event

Wake: TypeAlias = Callable[[], object]

# In what a pool keeps of a connection: what is to be woken if the transaction is committed, and what because it was.
_IF_COMMITTED, _COMMITTED = "dispatcher: wakes if committed", "dispatcher: wakes of what was committed"


def wake_after_commit(connection: Connection, wake: Wake) -> None:
    """Calls `wake` once after the transaction's commit, however often it is given; not if that is rolled back. Nested
    ones, and a session within a transaction of its connection, count as the outermost. A wake must raise nothing."""
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        wake()
        return
    engine = connection.engine
    if not event.contains(engine, "commit", _committing):
        event.listen(engine, "commit", _committing)
        event.listen(engine, "rollback", _rolled_back)
        event.listen(engine, "begin", _begins)
        event.listen(engine, "checkin", _given_back)
    connection.info.setdefault(_IF_COMMITTED, set()).add(wake)


def _committing(connection: Connection) -> None:
    if wakes := connection.info.pop(_IF_COMMITTED, None):
        connection.info[_COMMITTED] = wakes


def _rolled_back(connection: Connection) -> None:
    if not connection.invalidated:  # otherwise the pool has forgotten it already, and to ask would raise
        connection.info.pop(_IF_COMMITTED, None)


def _begins(connection: Connection) -> None:
    _wake(connection.info)


def _given_back(_connection: Any, record: Any) -> None:
    _wake(record.info)


def _wake(kept: dict[Any, Any]) -> None:
    for wake in kept.pop(_COMMITTED, ()):
        wake()
