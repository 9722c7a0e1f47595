"""Connections of callers, each by the means of its own driver: what runs a statement in the transaction that is open
there, and what wakes the workers after its commit. None but SQLAlchemy and psycopg2 is loaded here."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from psycopg2 import extensions
from sqlalchemy import Connection
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from dispatcher.db.prepared import Prepared
from dispatcher.errors import InvalidEvent, WrongDatabase
from dispatcher.events.after_commit import Wake, wake_after_commit

Rows: TypeAlias = Sequence[Sequence[Any]]

NOT_POSTGRESQL = "the connection given is not on PostgreSQL, so not on the engine's database"
_TAKEN = "a Session or Connection of SQLAlchemy, a connection of psycopg or psycopg2, or Django's"
_TAKEN_ASYNC = "an AsyncSession or AsyncConnection of SQLAlchemy, or an AsyncConnection of psycopg"


class Caller(Protocol):
    """A connection of a caller's. `identity` is what is on one database for good: the connection, or its engine."""

    identity: Any

    def run(self, statement: Prepared, parameters: Mapping[str, Any]) -> Rows: ...

    def wake_after_commit(self, wake: Wake) -> None: ...


class _BySqlalchemy:
    def __init__(self, given: Session | Connection) -> None:
        try:
            self._connection = given if isinstance(given, Connection) else given.connection()
        except UnboundExecutionError:
            raise WrongDatabase(
                "the session given has several databases, or none: pass `connection=session.connection(...)`, with "
                "`bind_arguments` that lead to the engine's"
            ) from None
        if self._connection.dialect.name != "postgresql":
            raise WrongDatabase(NOT_POSTGRESQL)
        self.identity = self._connection.engine

    def run(self, statement: Prepared, parameters: Mapping[str, Any]) -> Rows:
        return self._connection.execute(statement.text, parameters).all()

    def wake_after_commit(self, wake: Wake) -> None:
        wake_after_commit(self._connection, wake)


class _OfDriver:
    def __init__(self, given: Any) -> None:
        self.identity = given

    def wake_after_commit(self, wake: Wake) -> None:
        """The driver does not tell of commits. If no transaction is open, this one was committed by itself."""
        if self.identity.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE:
            wake()


class _ByPsycopg2(_OfDriver):
    def run(self, statement: Prepared, parameters: Mapping[str, Any]) -> Rows:
        with self.identity.cursor(cursor_factory=extensions.cursor) as cursor:  # one whose rows are tuples
            cursor.execute(statement.whole, parameters)
            rows: Rows = cursor.fetchall()
            return rows


class _ByPsycopg(_OfDriver):
    def run(self, statement: Prepared, parameters: Mapping[str, Any]) -> Rows:
        psycopg: Any = sys.modules["psycopg"]
        with psycopg.Cursor(self.identity, row_factory=psycopg.rows.tuple_row) as cursor:
            rows: Rows = cursor.execute(statement.whole, parameters).fetchall()
            return rows


class AsyncByPsycopg(_OfDriver):
    """As a `Caller`, with `run_async` in place of `run`."""

    async def run_async(self, statement: Prepared, parameters: Mapping[str, Any]) -> Rows:
        psycopg: Any = sys.modules["psycopg"]
        async with psycopg.AsyncCursor(self.identity, row_factory=psycopg.rows.tuple_row) as cursor:
            await cursor.execute(statement.whole, parameters)
            rows: Rows = await cursor.fetchall()
            return rows


class _ByDjango:
    def __init__(self, given: Any) -> None:
        if given.vendor != "postgresql":
            raise WrongDatabase(NOT_POSTGRESQL)
        self.identity = given

    def run(self, statement: Prepared, parameters: Mapping[str, Any]) -> Rows:
        with self.identity.cursor() as cursor:
            cursor.execute(statement.whole, parameters)
            rows: Rows = cursor.fetchall()
            return rows

    def wake_after_commit(self, wake: Wake) -> None:
        if not (self.identity.in_atomic_block or self.identity.get_autocommit()):
            return  # the caller manages transactions: Django does not tell of commits then
        waiting = _waiting.setdefault(self.identity, set())
        waiting.add(wake)
        self.identity.on_commit(partial(_wake_once, waiting, wake))


_waiting: WeakKeyDictionary[Any, set[Wake]] = WeakKeyDictionary()  # by connection of Django, which is a thread's


def _wake_once(waiting: set[Wake], wake: Wake) -> None:
    """Many events of a transaction are one wake."""
    if wake in waiting:
        waiting.remove(wake)
        wake()


def caller_of(connection: object) -> Caller:
    """How events are stored on this connection. Raises WrongDatabase, and InvalidEvent for anything else."""
    if isinstance(connection, scoped_session):
        connection = connection()
    if isinstance(connection, Session | Connection):
        return _BySqlalchemy(connection)
    if isinstance(connection, extensions.connection):
        return _ByPsycopg2(connection)
    if _is(connection, "psycopg", "Connection"):
        return _ByPsycopg(connection)
    django_db: Any = sys.modules.get("django.db")
    if django_db is not None and connection is django_db.connection:  # it stands for that of the thread
        connection = django_db.connections[django_db.DEFAULT_DB_ALIAS]
    if _is(connection, "django.db.backends.base.base", "BaseDatabaseWrapper"):
        return _ByDjango(connection)
    raise InvalidEvent("connection", f"must be {_TAKEN}, not a {_kind(connection)}; with `aenqueue`, {_TAKEN_ASYNC}")


def async_caller_of(connection: object) -> Callable[..., Any] | AsyncByPsycopg:
    """The same for asyncio: for SQLAlchemy its `run_sync`, which calls a function with what `caller_of` takes."""
    if _is(connection, "sqlalchemy.ext.asyncio", "async_scoped_session"):
        connection = connection()  # type: ignore[operator]
    if any(_is(connection, "sqlalchemy.ext.asyncio", name) for name in ("AsyncSession", "AsyncConnection")):
        run_sync: Callable[..., Any] = connection.run_sync  # type: ignore[attr-defined]
        return run_sync
    if _is(connection, "psycopg", "AsyncConnection"):
        return AsyncByPsycopg(connection)
    raise InvalidEvent("connection", f"must be {_TAKEN_ASYNC}, not a {_kind(connection)}; with `enqueue`, {_TAKEN}")


def _is(connection: object, module: str, name: str) -> bool:
    """Whether it is of a class that was loaded: who has one of its objects has loaded it."""
    return module in sys.modules and isinstance(connection, getattr(sys.modules[module], name))


def _kind(connection: object) -> str:
    return f"{type(connection).__module__}.{type(connection).__qualname__}"
