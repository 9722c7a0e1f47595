"""What handing events over needs of a process: settings, connections, a waker and a clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias
from weakref import WeakSet

from sqlalchemy.orm import Session

from dispatcher.db.engines import make_engine
from dispatcher.settings import Settings, read_settings
from dispatcher.wake import Waker

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """The time of this machine's clock, aware."""
    return datetime.now(UTC)


class Producer:
    """One engine as a program that enqueues uses it. Making one connects to nothing, and it may be used by many
    threads. `name` is what the database's administrators see; `clock` says what time it is, aware."""

    def __init__(self, settings: Settings, *, name: str = "dispatcher", clock: Clock = utc_now) -> None:
        url = settings.database_url.get_secret_value()
        self.settings = settings
        self.name = name
        self.clock = clock
        self.engine = make_engine(url, application_name=name)
        # What must go in together is one statement here: it needs no transaction around it.
        self.statements = make_engine(url, application_name=name, autocommit=True)
        self.waker = Waker(settings.broker_url.get_secret_value())
        self.engines_of_callers: WeakSet[Any] = WeakSet()  # those that were found to be on this database

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose changes are committed when the block ends well. What was loaded can still be read then."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Closes idle connections. It can be used again: it connects anew."""
        self.engine.dispose()
        self.statements.dispose()


@cache
def default_producer() -> Producer:
    """The producer of this process's settings, read with the first call. Raises ConfigurationError."""
    return Producer(read_settings())
