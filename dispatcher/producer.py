"""What a process needs to enqueue events: settings, connections, a waker and a clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.orm import Session

from dispatcher.db.clock import DatabaseClock
from dispatcher.db.engines import REQUESTS, Limits, make_engine
from dispatcher.settings import Settings, read_settings
from dispatcher.wake import Waker

Clock: TypeAlias = Callable[[], datetime]

# While a group is stored, all other events of the process wait.
GROUPS = Limits(1, lock=0.05, commit=REQUESTS.statement - 1)


class Producer:
    """One engine as a program that enqueues events uses it. Making one opens no connection, and many threads may use
    it. `name` is what database administrators see; `clock` says the database's time, of which new connections tell it.
    `threads` is how many may use the database at once without waiting for each other; `limits` is how long their
    transactions' statements may take."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str = "dispatcher",
        clock: DatabaseClock | None = None,
        threads: int = 15,
        limits: Limits = REQUESTS,
    ) -> None:
        url, pooler = settings.database_url.get_secret_value(), settings.database_pooler
        self.settings = settings
        self.name = name
        self.clock = clock or DatabaseClock()
        self.engine = make_engine(url, application_name=name, pooler=pooler, limits=limits, most_connections=threads)
        # For what is written in a single statement: it needs no transaction around it.
        self.statements = make_engine(
            url, application_name=name, pooler=pooler, autocommit=True, most_connections=threads
        )
        # For statements that store events of several callers: none may wait long for a lock that one of them needs. And
        # for heartbeats, which wait for none.
        self.groups = make_engine(
            url, application_name=name, pooler=pooler, autocommit=True, plan_once=True, limits=GROUPS
        )
        for engine in (self.engine, self.statements, self.groups):
            event.listen(engine, "connect", self.clock.ask)
        self.on_group: Callable[[int], None] | None = None  # is told how many events were stored together
        self.kept: dict[object, Any] = {}  # what the modules above make once for each producer,
        self.on_close: list[Callable[[], None]] = []  # and how that ends
        self.waker = Waker(settings.broker_url.get_secret_value())
        self.installation_id: str | None = None  # as the database says it, once it was asked
        self.known_callers: WeakSet[Any] = WeakSet()  # connections and engines that were found to be on this database
        # (account, app, type) that no webhook takes -> (monotonic time at which this expires, nearest types)
        self.nearest_types: dict[tuple[str, str | None, str], tuple[float, tuple[str, ...]]] = {}
        self.nearest_looks: dict[str, tuple[float, int]] = {}  # account -> (the same, how many until then)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose changes are committed when the block ends without an error. Loaded objects can still be read
        afterwards."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Closes idle connections, and ends idle threads. The producer can still be used: it then begins anew."""
        self.kept.clear()
        while self.on_close:
            self.on_close.pop()()
        self.engine.dispose()
        self.statements.dispose()
        self.groups.dispose()


_chosen: dict[str, Any] = {}  # settings of this process, which come before its environment


@cache
def default_producer() -> Producer:
    """The producer for this process's settings, which the first call reads. Raises ConfigurationError."""
    return Producer(read_settings(**_chosen))


def configure(**chosen: Any) -> Producer:
    """Says in code what this process's settings are, by their names in `Settings`; what is not given comes from the
    environment. Call it before the first event; returns the producer that `enqueue` uses from then on without one:

        dispatcher.configure(database_url="postgresql://...", broker_url="redis://...")

    Each call stands for itself: what an earlier one gave does not hold any more, and its idle connections are closed.
    Raises ConfigurationError; then all is as before."""
    read_settings(**chosen)
    if default_producer.cache_info().currsize:
        default_producer().close()
    _chosen.clear()
    _chosen.update(chosen)
    default_producer.cache_clear()
    return default_producer()
