"""Behind a pooler: what each transaction is told, and what is said where the setting is missing. Without a pooler, too:
the setting does no harm on a connection of our own."""

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import psycopg2
import pytest
from psycopg2 import extensions
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from dispatcher.api import health
from dispatcher.db.engines import Limits, make_engine
from dispatcher.db.migrate import upgrade
from dispatcher.db.outages import FOR_POOLERS, explain_outage, is_outage
from dispatcher.db.prepared import Prepared, from_pool
from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.installations import installation_for
from tests.poolers import MISSING, pooling
from workers.starting import wait_until_fit

LIMITS = Limits(7, lock=3)
TOLD = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "timezone",
    "jit",
    "synchronous_commit",
    "plan_cache_mode",
    "enable_seqscan",
)
IN_FORCE = text("SELECT " + ", ".join(f"current_setting('{name}')" for name in TOLD))
ADDS = Prepared("adds", "SELECT sum(n) + :more, 1::integer FROM unnest(:n) n", {"n": "integer[]", "more": "integer"})
ADDED, SUM = {"n": "{1,2,3}", "more": 4}, (10, 1)

behind_a_real_one = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


@pytest.fixture
def made(url: str) -> Iterator[Any]:
    """Makes engines as for loops, which are closed at the end."""
    engines: list[Engine] = []

    def make(url: str = url, **named: Any) -> Engine:
        engines.append(make_engine(url, limits=LIMITS, wait_for_disk=False, plan_once=True, **named))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def in_force(connection: Connection) -> tuple[Any, ...]:
    return tuple(connection.execute(IN_FORCE).one())


def of_session(connection: Connection) -> list[Any]:
    """What holds outside of transactions that are told anything, and what is prepared there."""
    driver: Any = connection.connection.dbapi_connection
    with extensions.connection.cursor(driver, cursor_factory=extensions.cursor) as cursor:
        cursor.execute(str(IN_FORCE))
        settings = cursor.fetchall()
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [*settings, *cursor.fetchall()]


# ---- the setting


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_transaction_is_told_what_a_session_of_our_own_would_be_and_the_session_keeps_nothing(
    made: Any, url: str, autocommit: bool
) -> None:
    with made(autocommit=autocommit).connect() as ours:
        expected = in_force(ours)
    untold = make_engine(url, pooler=True, autocommit=True)  # nothing is told yet when it has just connected
    with untold.connect() as connection:
        before = of_session(connection)
    untold.dispose()
    assert expected not in before
    with made(pooler=True, autocommit=autocommit).connect() as connection:
        for _ in range(2):  # each transaction
            assert in_force(connection) == in_force(connection) == expected
            connection.rollback()
        if not autocommit:
            with connection.begin(), connection.begin_nested():
                assert in_force(connection) == expected
        assert of_session(connection) == before


def test_a_statement_of_its_own_transaction_is_limited_too(made: Any) -> None:
    engine = make_engine(made().url.render_as_string(hide_password=False), pooler=True, limits=Limits(0.2))
    with pytest.raises(OperationalError, match="statement timeout"), engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("SELECT pg_sleep(10)"))
    engine.dispose()


@pytest.mark.parametrize("autocommit", [False, True])
def test_nothing_is_prepared_and_the_statement_returns_the_same(made: Any, autocommit: bool) -> None:
    for pooler, prepared in ((False, [("adds",)]), (True, [])):
        engine = made(pooler=pooler, autocommit=autocommit)
        with engine.connect() as connection:
            assert tuple(ADDS.execute(connection, ADDED).one()) == SUM
            assert tuple(connection.execute(ADDS.text, ADDED).one()) == SUM  # as on a connection of others
        with from_pool(engine) as raw:
            assert [tuple(row) for row in ADDS.fetch(raw, ADDED)] == [SUM]
        with engine.connect() as connection:
            assert of_session(connection)[1:] == prepared


# ---- without the setting


def test_what_a_pooler_refuses_or_mixes_up_is_an_outage_that_says_what_to_do(made: Any) -> None:
    refused = psycopg2.OperationalError(
        'connection to server at "h" failed: FATAL:  unsupported startup parameter: options'
    )
    assert FOR_POOLERS in (explain_outage(OperationalError("", {}, refused)) or "")
    with made(autocommit=True).connect() as connection:
        for statement in ("EXECUTE unheard_of", "PREPARE twice AS SELECT 1; PREPARE twice AS SELECT 1"):
            with pytest.raises(DBAPIError) as raised:
                connection.exec_driver_sql(statement)
            assert is_outage(raised.value)
            assert FOR_POOLERS in (explain_outage(raised.value) or "")


def test_neither_worker_nor_api_is_ready_where_what_its_sessions_are_told_does_not_hold(settings: Settings) -> None:
    wait_until_fit(installation_for(settings))
    with patch("dispatcher.db.engines._options", lambda *_: ""):  # as a pooler may do
        installation = Installation(settings)
        check_not_ready(installation)
    installation.close()


def check_not_ready(installation: Installation) -> None:
    with pytest.raises(ConfigurationError, match="DISPATCHER_DATABASE_POOLER"):
        wait_until_fit(installation)
    database = asyncio.run(health._check(installation))["database"]
    assert database.status == "failed"
    assert FOR_POOLERS in (database.detail or "")


@behind_a_real_one
def test_a_pooler_without_the_setting_is_refused_and_said_so(url: str, made: Any) -> None:
    with pooling(url, "session", sessions=5) as pooler:
        with pytest.raises(OperationalError) as raised:
            made(pooler.url).connect()
        assert FOR_POOLERS in (explain_outage(raised.value) or "")
        with pytest.raises(OperationalError) as raised:
            upgrade(pooler.url)
        assert "give `dispatcher migrate` PostgreSQL's own address" in (explain_outage(raised.value) or "")


@behind_a_real_one
def test_a_pooler_that_drops_what_sessions_are_told_is_refused_and_said_so(
    settings: Settings, url: str, made: Any
) -> None:
    with pooling(url, "transaction", sessions=2, ignore_startup_parameters="options") as pooler:
        installation = Installation(settings.model_copy(update={"database_url": SecretStr(pooler.url)}))
        check_not_ready(installation)
        installation.close()
        engine = made(pooler.url, autocommit=True)
        with pytest.raises(ConfigurationError, match="DISPATCHER_DATABASE_POOLER"):
            upgrade(pooler.url)
        with engine.connect() as first, engine.connect() as second:
            ADDS.execute(first, ADDED)
            with pytest.raises(DBAPIError) as raised:
                ADDS.execute(second, ADDED)  # in the same server session
        assert FOR_POOLERS in (explain_outage(raised.value) or "")


@behind_a_real_one
def test_a_transaction_is_told_without_another_message(url: str, made: Any) -> None:
    with pooling(url, "transaction", sessions=2) as pooler:

        def count(work: Any, **named: Any) -> tuple[int, int]:
            engine = made(pooler.url, pooler=True, **named)
            engine.connect().close()  # SQLAlchemy asks the server a few things first
            before = pooler.totals()
            work(engine)
            after = pooler.totals()
            return after[0] - before[0], after[1] - before[1]

        def one(engine: Engine) -> None:
            with engine.connect() as connection:
                ADDS.execute(connection, ADDED)

        def two(engine: Engine) -> None:
            with engine.begin() as connection:
                ADDS.execute(connection, ADDED)
                in_force(connection)

        assert count(one, autocommit=True) == (1, 1)
        assert count(two) == (1, 4)  # BEGIN and COMMIT as always
