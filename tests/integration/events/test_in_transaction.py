"""Events that are stored in transactions of callers, by each driver against the real database."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import django.db
import psycopg
import psycopg2
import pytest
import redis
from django.db import transaction
from psycopg2.extras import RealDictCursor
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session, sessionmaker

from dispatcher import (
    InvalidEvent,
    KeyReused,
    Unavailable,
    UnknownAccount,
    WrongDatabase,
    aenqueue,
    enqueue,
    wake_workers,
)
from dispatcher.settings import Settings
from dispatcher.wake import Waker
from tests.conftest import Servers
from tests.factories import change, make_account, make_webhook, rows
from tests.integration.events.ways import DJANGO, WAYS, Way, opened
from tests.process_table import eventually

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


@pytest.fixture(params=WAYS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def way(name: str, url: str, database: Engine) -> Iterator[Way]:
    with opened(name, url) as one:
        yield one


class Woken(NamedTuple):
    """A wake: how many events others saw at that moment, and in which thread it was."""

    events: int
    thread: str


@pytest.fixture
def woken(database: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Woken]:
    """One for each time that somebody wakes the workers."""
    calls: list[Woken] = []
    monkeypatch.setattr(
        Waker, "wake", lambda _self: calls.append(Woken(len(types(database)), threading.current_thread().name))
    )
    return calls


def types(database: Engine) -> list[str]:
    return [row.type for row in rows(database, "SELECT type FROM dispatcher.events ORDER BY id")]


def wakes(broker: "redis.Redis") -> int:
    return broker.llen("deliver")  # type: ignore[return-value]


def made(servers: Servers, name: str, *statements: str) -> str:
    """The URL of another database on the server, in which these statements were run."""
    url = servers.database_url.rpartition("/")[0] + f"/{name}"
    with create_engine(servers.database_url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.engine.dispose()
    with create_engine(url).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
        connection.engine.dispose()
    return url


@pytest.fixture(scope="session")
def empty_database(servers: Servers) -> str:
    """Another database on the server, in which the engine has nothing."""
    return made(servers, "of_nobody")


@pytest.fixture(scope="session")
def anothers_database(servers: Servers) -> str:
    """One that another engine has, as far as is looked at."""
    return made(
        servers,
        "of_another",
        "CREATE SCHEMA dispatcher",
        "CREATE FUNCTION dispatcher.store_v1() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION dispatcher.installation_id_v1() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'",
    )


# What holds for each of them


def test_it_is_there_and_woken_for_only_after_the_commit(
    way: Way, database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=URL)
    for _ in range(2):  # a connection can be used again
        assert way.enqueue("a").deliveries == 1
        way.enqueue_nested("b", undone=False)
        assert (types(database), wakes(broker)) == ([], 0)
        way.commit()
        assert types(database) == ["a", "b"]
        if not way.wakes:
            assert wakes(broker) == 0
            wake_workers()
        assert eventually(lambda: wakes(broker) == 1)
        change(database, "DELETE FROM dispatcher.events")
        broker.flushall()


def test_rolled_back_it_never_was(way: Way, database: Engine, settings: Settings, woken: list[Woken]) -> None:
    make_webhook(database, settings, url=URL)
    way.enqueue(idempotency_key="k")
    way.rollback()
    way.run("SELECT 1")
    way.commit()
    assert (types(database), woken) == ([], [])
    assert not enqueue("a", {}, account="acme", idempotency_key="k").repeated


def test_a_nested_transaction_that_is_undone_takes_only_its_own_event(
    way: Way, database: Engine, settings: Settings
) -> None:
    make_account(database)
    way.enqueue("a")
    way.enqueue_nested("b", undone=True)
    way.commit()
    assert types(database) == ["a"]


def test_a_refusal_leaves_the_transaction_usable(way: Way, database: Engine, settings: Settings) -> None:
    make_account(database)
    first = way.enqueue("a", "größer €", idempotency_key="k")
    with pytest.raises(UnknownAccount):
        way.enqueue(account="nobody")
    with pytest.raises(KeyReused):
        way.enqueue("a", "other", idempotency_key="k")
    with pytest.raises(InvalidEvent, match=r"^data: object has no JSON form"):
        way.enqueue("a", object())
    again = way.enqueue("a", "größer €", idempotency_key="k")
    assert (again.event_id, again.repeated, again.nearest_types) == (first.event_id, True, ())
    way.commit()
    ((data,),) = rows(database, "SELECT data FROM dispatcher.events")
    assert bytes(data).decode() == '"größer €"'


def test_another_database_is_refused_each_time_and_the_transaction_stays_usable(
    name: str, database: Engine, settings: Settings, anothers_database: str, empty_database: str
) -> None:
    make_account(database)
    for elsewhere in (anothers_database, empty_database):
        with opened(name, elsewhere) as way:
            for _ in range(2):
                with pytest.raises(WrongDatabase, match="not on the engine's database"):
                    way.enqueue()
            way.run("SELECT 1")
            way.commit()
    assert types(database) == []


# Each of these has a form of errors and rows of its own; what is decided of them is the same for all.
@pytest.mark.parametrize("name", ["session", "psycopg2", "psycopg", "django", "async connection"], indirect=True)
def test_a_user_without_the_role_for_producers_is_told_of_it(way: Way, database: Engine, settings: Settings) -> None:
    make_account(database)
    way.run("REVOKE USAGE ON SCHEMA dispatcher FROM CURRENT_USER")
    with pytest.raises(Unavailable, match="no member of the role for producers, which `dispatcher roles` shows: the e"):
        way.enqueue()
    way.run("GRANT USAGE ON SCHEMA dispatcher TO CURRENT_USER")  # the transaction goes on
    assert way.enqueue().deliveries == 0
    way.rollback()


@pytest.fixture
def without_partitions(database: Engine) -> Iterator[None]:
    change(database, "ALTER TABLE dispatcher.events RENAME TO events_apart")
    change(database, "CREATE TABLE dispatcher.events (LIKE dispatcher.events_apart) PARTITION BY RANGE (id)")
    yield
    change(database, "DROP TABLE dispatcher.events")
    change(database, "ALTER TABLE dispatcher.events_apart RENAME TO events")


@pytest.mark.parametrize("name", ["session", "psycopg2", "psycopg", "django", "async connection"], indirect=True)
@pytest.mark.usefixtures("without_partitions")
def test_an_event_for_whose_week_there_is_no_place_is_refused_with_what_to_do(way: Way, database: Engine) -> None:
    make_account(database)
    with pytest.raises(Unavailable, match="not stored: the database has no partition for this week: run `dispatcher"):
        way.enqueue()
    way.rollback()


# What some have of their own


def test_a_connection_is_looked_at_once(database: Engine, url: str, settings: Settings) -> None:
    make_account(database)
    engine, ran = create_engine(url, pool_size=1), []
    event.listen(engine, "before_cursor_execute", lambda *given: ran.append(given[2]))
    for _ in range(3):
        with engine.begin() as connection:
            enqueue("a", 1, account="acme", connection=connection)
    engine.dispose()
    assert [("store_v1(" in statement) for statement in ran] == [False, False, True, True, True]


def test_of_a_connection_that_broke_the_caller_gets_its_own_error_and_nobody_is_woken(
    database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)
    engine = create_engine(url)

    def break_it() -> None:
        with engine.begin() as own:
            enqueue("message.sent", {"id": 1}, account="acme", connection=own)
            change(database, "SELECT pg_terminate_backend(:pid, 5000)", pid=own.scalar(text("SELECT pg_backend_pid()")))
            own.execute(text("SELECT 1"))

    with pytest.raises(OperationalError, match=r"closed the connection|terminating connection"):
        break_it()
    with engine.begin() as own:
        own.execute(text("SELECT 1"))
    engine.dispose()
    assert (types(database), woken) == ([], [])


def test_of_a_pooled_connection_nothing_is_left_to_who_gets_it_next(
    database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)
    engine = create_engine(url, pool_size=1, max_overflow=0)
    for number in range(3):
        with Session(engine) as session:
            enqueue("a", 1, account="acme", connection=session)
            session.rollback()
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
        assert len(woken) == number
        with engine.begin() as connection:
            enqueue("a", 1, account="acme", connection=connection)
        assert len(woken) == number + 1
    engine.dispose()


def test_a_session_within_a_transaction_of_its_connection_wakes_once_that_is_committed(
    database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)
    engine = create_engine(url)
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection) as session:
            enqueue("a", 1, account="acme", session=session)
            session.commit()
        assert (types(database), woken) == ([], [])
        outer.commit()
    assert (types(database), len(woken)) == (["a"], 1)
    engine.dispose()


@pytest.mark.parametrize("of", [sessionmaker, scoped_session])
def test_many_events_of_a_session_are_one_wake(
    of: Callable[..., Any], database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)
    engine = create_engine(url)
    session: Any = scoped_session(sessionmaker(engine)) if of is scoped_session else sessionmaker(engine)()
    for _ in range(5):
        enqueue("a", 1, account="acme", connection=session)
    session.commit()
    (session.remove if of is scoped_session else session.close)()
    engine.dispose()
    assert [one.events for one in woken] == [5]  # not before the commit: a loop would see nothing


def test_what_makes_no_delivery_wakes_nobody(
    database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL, event_types=["taken"])
    enqueue("taken", 1, account="acme", idempotency_key="k")
    woken.clear()
    engine = create_engine(url)
    with Session(engine) as session, session.begin():
        assert enqueue("taken", 1, account="acme", idempotency_key="k", connection=session).repeated
        assert enqueue("a", 1, account="acme", connection=session).deliveries == 0
    engine.dispose()
    assert woken == []


def test_an_async_scoped_session_is_taken_as_well_and_the_broker_does_not_keep_its_event_loop_waiting(
    database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)

    async def run() -> None:
        engine = create_async_engine(url.replace("psycopg2", "asyncpg"))
        session = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        await aenqueue("a", 1, account="acme", session=session)
        await session.commit()
        await session.remove()
        await engine.dispose()

    asyncio.run(run())
    assert types(database) == ["a"]
    assert eventually(lambda: bool(woken))
    assert [(one.events, one.thread.startswith("dispatcher-wakes")) for one in woken] == [(1, True)]


def test_many_events_of_a_django_transaction_are_one_wake_and_without_one_each_is_committed_by_itself(
    database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)
    with opened("django", url) as way:
        for _ in range(5):
            way.enqueue()
        way.enqueue_nested("b", undone=True)
        way.commit()
        assert [one.events for one in woken] == [5]
        way.rollback()
        way._atomic.__exit__(None, None, None)  # type: ignore[attr-defined]
        way.enqueue("c")
        assert (types(database)[-1], len(woken)) == ("c", 2)
        way.given.set_autocommit(False)
        way.enqueue("d")
        way.given.commit()
        assert (types(database)[-1], len(woken)) == ("d", 2)  # Django tells nobody of this commit
        way.given.set_autocommit(True)
        way._begin()  # type: ignore[attr-defined]


def test_the_connection_that_django_names_is_that_of_the_thread(
    database: Engine, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(database)
    with opened("django", url):
        monkeypatch.setattr(django.db, "DEFAULT_DB_ALIAS", DJANGO)
        monkeypatch.setattr(django.db.connection, "_alias", DJANGO)
        with transaction.atomic(using=DJANGO):
            enqueue("a", 1, account="acme", connection=django.db.connection)
            assert types(database) == []


@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_where_each_statement_is_committed_by_itself_it_is_woken_for_at_once(
    driver: Any, database: Engine, url: str, settings: Settings, woken: list[Woken]
) -> None:
    make_webhook(database, settings, url=URL)
    with closing(driver.connect(url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        enqueue("a", 1, account="acme", connection=connection)
        assert len(woken) == 1
        connection.cursor().execute("BEGIN")
        enqueue("b", 1, account="acme", connection=connection)
        connection.cursor().execute("COMMIT")
        assert (types(database), len(woken)) == (["a", "b"], 1)
    engine = create_engine(url.replace("psycopg2", driver.__name__), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        enqueue("c", 1, account="acme", connection=connection)
        assert (types(database)[-1], len(woken)) == ("c", 2)
    engine.dispose()


def test_rows_in_forms_that_the_caller_has_chosen_do_not_matter(database: Engine, url: str, settings: Settings) -> None:
    make_account(database)
    plain = url.replace("+psycopg2", "")
    with closing(psycopg2.connect(plain, cursor_factory=RealDictCursor)) as connection:
        connection.set_client_encoding("LATIN1")
        enqueue("a", "größer €", account="acme", connection=connection)
        connection.commit()
    for factory in (psycopg.RawCursor, psycopg.ClientCursor):
        with psycopg.connect(
            plain, row_factory=psycopg.rows.dict_row, cursor_factory=factory, client_encoding="latin1"
        ) as one:
            enqueue("a", "größer €", account="acme", connection=one)
    found = rows(database, "SELECT convert_from(data, 'UTF8') AS data FROM dispatcher.events")
    assert [row.data for row in found] == ['"größer €"'] * 3


# What is refused


@pytest.mark.parametrize("call", [enqueue, lambda *given, **named: asyncio.run(aenqueue(*given, **named))])
@pytest.mark.parametrize("given", [object(), "postgresql://", 0])
def test_what_is_no_connection_is_refused_with_those_that_are(
    call: Callable[..., object], given: object, settings: Settings
) -> None:
    with pytest.raises(InvalidEvent, match=r"^connection must be an? .*Session.*, not a builtins\.") as refused:
        call("a", 1, account="acme", connection=given)
    assert refused.value.field == "connection"


def test_a_connection_for_asyncio_and_one_for_threads_are_told_apart(
    database: Engine, url: str, settings: Settings
) -> None:
    async_engine = create_async_engine(url.replace("psycopg2", "asyncpg"))
    with pytest.raises(InvalidEvent, match=r"with `aenqueue`, an AsyncSession or AsyncConnection of SQLAlchemy"):
        enqueue("a", 1, account="acme", connection=AsyncSession(async_engine))
    with Session(database) as session, pytest.raises(InvalidEvent, match="with `enqueue`, a Session or Connection of"):
        asyncio.run(aenqueue("a", 1, account="acme", connection=session))


def test_a_session_and_a_connection_are_not_given_both(database: Engine, settings: Settings) -> None:
    with Session(database) as session, pytest.raises(InvalidEvent, match=r"^session is given beside `connection`"):
        enqueue("a", 1, account="acme", session=session, connection=session)


def test_of_a_session_with_two_databases_the_engines_must_be_named(
    database: Engine, settings: Settings, empty_database: str
) -> None:
    class Ours(DeclarativeBase): ...

    class Theirs(DeclarativeBase): ...

    make_account(database)
    elsewhere = create_engine(empty_database)
    with Session(binds={Ours: database, Theirs: elsewhere}) as session:
        with pytest.raises(WrongDatabase, match=r"several databases, or none: pass `connection=session.connection\("):
            enqueue("a", 1, account="acme", session=session)
        right, wrong = (session.connection(bind_arguments={"bind": bind}) for bind in (database, elsewhere))
        with pytest.raises(WrongDatabase):
            enqueue("a", 1, account="acme", connection=wrong)
        enqueue("a", 1, account="acme", connection=right)
        session.commit()
    elsewhere.dispose()
    assert types(database) == ["a"]


@pytest.mark.parametrize("engine", ["sqlite", "django"])
def test_a_database_that_is_no_postgresql_is_refused(
    engine: str, database: Engine, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(database)
    if engine == "django":
        with opened("django", url) as way:
            monkeypatch.setattr(way.given, "vendor", "sqlite")
            with pytest.raises(WrongDatabase, match="not on PostgreSQL"):
                way.enqueue()
        return
    sqlite = create_engine("sqlite://")
    with sqlite.connect() as connection, pytest.raises(WrongDatabase, match="not on PostgreSQL"):
        enqueue("a", 1, account="acme", connection=connection)
    sqlite.dispose()
