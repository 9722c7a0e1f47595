"""The connections on which callers have transactions of their own, each by its own driver's means."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import django
import django.conf
import django.db
import psycopg
import psycopg2
from django.db import transaction
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from dispatcher import Accepted, aenqueue, enqueue

DJANGO = "dispatchers_tests"


class Undone(Exception):
    """Ends a nested transaction that is to be rolled back."""


class Way:
    """An open connection. `wakes`: whether a commit wakes the workers by itself."""

    wakes: ClassVar[bool]
    given: Any  # what `enqueue` is given as `connection`

    def enqueue(self, type_: str = "a", data: Any = 1, *, account: str = "acme", **more: Any) -> Accepted:
        return enqueue(type_, data, account=account, connection=self.given, **more)

    def enqueue_nested(self, type_: str, *, undone: bool) -> None: ...

    def run(self, statement: str) -> None: ...

    def commit(self) -> None:
        self.given.commit()

    def rollback(self) -> None:
        self.given.rollback()


class _BySqlalchemy(Way):
    wakes = True
    given: Session | Connection

    def enqueue_nested(self, type_: str, *, undone: bool) -> None:
        savepoint = self.given.begin_nested()
        self.enqueue(type_)
        (savepoint.rollback if undone else savepoint.commit)()

    def run(self, statement: str) -> None:
        self.given.execute(text(statement))


@contextmanager
def _engine(url: str, driver: str) -> Iterator[Any]:
    engine = create_engine(make_url(url).set(drivername=f"postgresql+{driver}"))
    try:
        yield engine
    finally:
        engine.dispose()


class SessionWay(_BySqlalchemy):
    def __init__(self, url: str, stack: ExitStack) -> None:
        self.given = stack.enter_context(Session(stack.enter_context(_engine(url, "psycopg2"))))


class ConnectionWay(_BySqlalchemy):
    def __init__(self, url: str, stack: ExitStack) -> None:
        self.given = stack.enter_context(stack.enter_context(_engine(url, "psycopg")).connect())

    def commit(self) -> None:
        super().commit()
        self.run("SELECT 1")  # SQLAlchemy tells of a commit before it begins; now it is over
        self.rollback()


class _ByDriver(Way):
    wakes = False

    def run(self, statement: str) -> None:
        with self.given.cursor() as cursor:
            cursor.execute(statement)


class Psycopg2Way(_ByDriver):
    def __init__(self, url: str, stack: ExitStack) -> None:
        self.given = psycopg2.connect(_plain(url))
        stack.callback(self.given.close)

    def enqueue_nested(self, type_: str, *, undone: bool) -> None:
        self.run("SAVEPOINT nested")
        self.enqueue(type_)
        self.run("ROLLBACK TO SAVEPOINT nested" if undone else "RELEASE SAVEPOINT nested")


class PsycopgWay(_ByDriver):
    def __init__(self, url: str, stack: ExitStack) -> None:
        self.given = stack.enter_context(psycopg.connect(_plain(url)))

    def enqueue_nested(self, type_: str, *, undone: bool) -> None:
        with self.given.transaction(force_rollback=undone):
            self.enqueue(type_)


class DjangoWay(_ByDriver):
    """In `atomic` blocks of one connection, as requests are with ATOMIC_REQUESTS."""

    wakes = True

    def __init__(self, url: str, stack: ExitStack) -> None:
        if not django.conf.settings.configured:
            django.conf.settings.configure(USE_TZ=True, LOGGING_CONFIG=None)
            django.setup()
        parts = make_url(url)
        django.db.connections.settings[DJANGO] = django.db.connections.configure_settings(
            {
                "default": {},
                DJANGO: {
                    "ENGINE": "django.db.backends.postgresql",
                    "HOST": parts.host,
                    "PORT": parts.port,
                    "NAME": parts.database,
                    "USER": parts.username,
                    "PASSWORD": parts.password,
                },
            }
        )[DJANGO]
        self.given = django.db.connections[DJANGO]
        stack.callback(self._close)
        self._begin()

    def _begin(self) -> None:
        self._atomic = transaction.atomic(using=DJANGO)
        self._atomic.__enter__()

    def _close(self) -> None:
        self._atomic.__exit__(Undone, Undone(), None)
        self.given.close()
        del django.db.connections[DJANGO]

    def enqueue_nested(self, type_: str, *, undone: bool) -> None:
        with transaction.atomic(using=DJANGO):
            self.enqueue(type_)
            if undone:
                transaction.set_rollback(True, using=DJANGO)

    def commit(self) -> None:
        self._atomic.__exit__(None, None, None)
        self._begin()

    def rollback(self) -> None:
        self._atomic.__exit__(Undone, Undone(), None)
        self._begin()


class _Async(Way):
    def __init__(self, stack: ExitStack) -> None:
        self._runner = stack.enter_context(asyncio.Runner())

    def _wait(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def enqueue(self, type_: str = "a", data: Any = 1, *, account: str = "acme", **more: Any) -> Accepted:
        stored: Accepted = self._wait(aenqueue(type_, data, account=account, connection=self.given, **more))
        return stored

    def commit(self) -> None:
        self._wait(self.given.commit())

    def rollback(self) -> None:
        self._wait(self.given.rollback())


class _BySqlalchemyAsync(_Async):
    wakes = True
    given: AsyncSession | AsyncConnection
    driver: ClassVar[str]

    def __init__(self, url: str, stack: ExitStack) -> None:
        super().__init__(stack)
        engine = create_async_engine(make_url(url).set(drivername=f"postgresql+{self.driver}"))
        stack.callback(lambda: self._wait(engine.dispose()))
        self.given = self._wait(self._open(engine))
        stack.callback(lambda: self._wait(self.given.close()))

    async def _open(self, engine: Any) -> Any: ...

    def enqueue_nested(self, type_: str, *, undone: bool) -> None:
        savepoint = self._wait(self.given.begin_nested().start())
        self.enqueue(type_)
        self._wait((savepoint.rollback if undone else savepoint.commit)())

    def run(self, statement: str) -> None:
        self._wait(self.given.execute(text(statement)))


class AsyncSessionWay(_BySqlalchemyAsync):
    driver = "psycopg"

    async def _open(self, engine: Any) -> AsyncSession:
        return AsyncSession(engine)


class AsyncpgSessionWay(AsyncSessionWay):
    driver = "asyncpg"


class AsyncConnectionWay(_BySqlalchemyAsync):
    driver = "asyncpg"

    async def _open(self, engine: Any) -> AsyncConnection:
        opened: AsyncConnection = await engine.connect()
        return opened

    def commit(self) -> None:
        super().commit()
        self.run("SELECT 1")  # as above
        self.rollback()


class AsyncPsycopgWay(_Async):
    wakes = False

    def __init__(self, url: str, stack: ExitStack) -> None:
        super().__init__(stack)
        self.given = self._wait(psycopg.AsyncConnection.connect(_plain(url)))
        stack.callback(lambda: self._wait(self.given.close()))

    def enqueue_nested(self, type_: str, *, undone: bool) -> None:
        async def nested() -> None:
            async with self.given.transaction(force_rollback=undone):
                await aenqueue(type_, 1, account="acme", connection=self.given)

        self._wait(nested())

    def run(self, statement: str) -> None:
        self._wait(self.given.execute(statement))


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


WAYS: dict[str, Callable[[str, ExitStack], Way]] = {
    "session": SessionWay,
    "connection": ConnectionWay,
    "psycopg2": Psycopg2Way,
    "psycopg": PsycopgWay,
    "django": DjangoWay,
    "async session": AsyncSessionWay,
    "async session on asyncpg": AsyncpgSessionWay,
    "async connection": AsyncConnectionWay,
    "async psycopg": AsyncPsycopgWay,
}


@contextmanager
def opened(name: str, url: str) -> Iterator[Way]:
    """One of them, on the database of this URL."""
    with ExitStack() as stack:
        yield WAYS[name](url, stack)
