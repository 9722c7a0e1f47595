"""What waits for the commit of a caller's transaction, and is dropped if that, or its savepoint, is rolled back.
Sessions and connections are held weakly: one that a test forgets goes as it would without this."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary, proxy

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from dispatcher.errors import InvalidEvent

Keep: TypeAlias = Callable[[Any], None]


class Transactions(Protocol):
    """Those of one connection, one after the other."""

    def add(self, what: Any) -> None:
        """Keeps this until the commit."""

    def __iter__(self) -> Iterator[Any]:
        """What waits, in order."""


class OfSession:
    """Of a session of SQLAlchemy."""

    def __init__(self, session: Session, keep: Keep) -> None:
        self._session = proxy(session)
        self._waiting: list[tuple[Any, SessionTransaction]] = []  # with what it would be rolled back with
        self._keep = keep
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)

    def add(self, what: Any) -> None:
        """Begins a transaction if there is none, as every use of a session does."""
        within = self._session.get_nested_transaction() or self._session.get_transaction()
        self._waiting.append((what, within or self._session.begin()))

    def __iter__(self) -> Iterator[Any]:
        return (what for what, _ in self._waiting)

    def _after_commit(self, session: Session) -> None:
        released = session.get_nested_transaction()
        if released is None:
            for what in self:
                self._keep(what)
        elif released.parent is not None:
            parent = released.parent
            self._waiting = [(what, parent if within is released else within) for what, within in self._waiting]

    def _after_end(self, _: Session, ended: SessionTransaction) -> None:
        """What it still has was handed over, or rolled back with it."""
        self._waiting = [(what, within) for what, within in self._waiting if within is not ended]


class OfConnection:
    """Of a connection of SQLAlchemy."""

    def __init__(self, connection: Connection, keep: Keep) -> None:
        self._connection = proxy(connection)
        self._waiting: list[Any] = []
        self._open: list[int] = []  # how many waited when each open savepoint was made; 0 for those from before
        self._keep = keep
        event.listen(connection, "savepoint", self._savepoint)
        event.listen(connection, "release_savepoint", self._released)
        event.listen(connection, "rollback_savepoint", self._rolled_back_to)
        event.listen(connection, "commit", self._commit)
        event.listen(connection, "rollback", self._rollback)

    def add(self, what: Any) -> None:
        """Begins a transaction if there is none, as every use of a connection does."""
        if getattr(self._connection.connection.dbapi_connection, "autocommit", False) is True:
            self._keep(what)
            return
        if not self._connection.in_transaction():
            self._connection.begin()
        self._waiting.append(what)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._waiting)

    def _savepoint(self, _: Connection, __: str | None) -> None:
        self._open.append(len(self._waiting))

    def _released(self, _: Connection, __: str, ___: None) -> int:
        return self._open.pop() if self._open else 0

    def _rolled_back_to(self, connection: Connection, name: str, context: None) -> None:
        del self._waiting[self._released(connection, name, context) :]

    def _commit(self, connection: Connection) -> None:
        for what in self._waiting:
            self._keep(what)
        self._rollback(connection)

    def _rollback(self, _: Connection) -> None:
        self._waiting.clear()
        self._open.clear()


class OfDjango:
    """Of a connection of Django, which keeps what is to be done after the commit."""

    def __init__(self, connection: Any, keep: Keep) -> None:
        self._connection, self._keep = connection, keep

    def add(self, what: Any) -> None:
        self._connection.on_commit(partial(self._keep, what))

    def __iter__(self) -> Iterator[Any]:
        done = (entry[1] for entry in self._connection.run_on_commit)
        return (one.args[0] for one in done if isinstance(one, partial) and one.func == self._keep)


class OfDriver:
    """Of a connection of psycopg or psycopg2, which does not tell of commits: nothing waits."""

    def __init__(self, keep: Keep) -> None:
        self.add = keep

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def transactions_of(given: Any, keep: Keep, known: WeakKeyDictionary[Any, Transactions]) -> Transactions:
    """Those of what `enqueue` and `aenqueue` take as `connection`; `keep` gets what was committed. `known` has those
    that listen to a connection already. Raises InvalidEvent for anything else."""
    given = given.registry() if hasattr(given, "registry") else given  # of a scoped session
    given = getattr(given, "sync_session", None) or getattr(given, "sync_connection", None) or given
    if isinstance(given, Session | Connection):
        if given not in known:
            known[given] = OfSession(given, keep) if isinstance(given, Session) else OfConnection(given, keep)
        return known[given]
    if hasattr(given, "run_on_commit"):
        return OfDjango(given, keep)
    if {"psycopg", "psycopg2"} & {kind.__module__.partition(".")[0] for kind in type(given).__mro__}:
        return OfDriver(keep)
    raise InvalidEvent("connection", f"is of a kind that enqueue does not know: {type(given).__qualname__}")
