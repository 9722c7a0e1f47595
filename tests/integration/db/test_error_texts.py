"""What the database says of an error never repeats what was sent to it, wherever the error is shown."""

import traceback
from collections.abc import Callable, Iterator

import psycopg2
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, SQLAlchemyError

from dispatcher.db.engines import make_engine
from dispatcher.db.outages import explain_outage, is_refused_memory
from dispatcher.db.prepared import from_pool
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port

PLANTED = "planted-27835550199"


def raised_by(engine: Engine, statement: str, **values: object) -> DBAPIError:
    with pytest.raises(DBAPIError) as raised, engine.begin() as connection:
        connection.execute(text(statement), {"value": PLANTED, **values})
    return raised.value


def all_that_is_shown(error: SQLAlchemyError) -> str:
    return f"{error} {error!r} {''.join(traceback.format_exception(error))}"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT CAST(:value AS uuid)", "SQLSTATE 22P02"),
        ("SELECT CAST(:value AS timestamptz)", "SQLSTATE 22007"),
        ("SELECT CAST('{' || :value AS integer[])", "SQLSTATE 22P02"),
        ("SELECT CAST('{\"a\" ' || :value || '}' AS jsonb)", "SQLSTATE 22P02"),
        ("DO $$ BEGIN RAISE EXCEPTION 'planted-27835550199'; END $$", "SQLSTATE P0001"),
        ("SELECT planted-27835550199 27835550199", "SQLSTATE 42601"),
        (
            "INSERT INTO dispatcher.accounts (id, name) SELECT CAST(NULL AS uuid), :value",
            'null value in column "id" of relation "accounts" violates not-null constraint',
        ),
        (
            "INSERT INTO dispatcher.accounts (id, name) SELECT gen_random_uuid(), :value FROM generate_series(1, 2)",
            'duplicate key value violates unique constraint "accounts_name_key"',
        ),
        (
            (
                "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at) SELECT"
                " gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), :value, now(), now()"
            ),
            'new row for relation "deliveries" violates check constraint "deliveries_state_check"',
        ),
        ("SELECT * FROM dispatcher.nowhere WHERE name = :value", 'relation "dispatcher.nowhere" does not exist'),
    ],
)
def test_an_error_names_what_is_wrong_but_no_value(database: Engine, statement: str, told: str) -> None:
    error = raised_by(database, statement)
    assert str(error.orig) == told
    assert told in str(error)
    shown = all_that_is_shown(error)
    if PLANTED not in statement:  # SQLAlchemy shows the statement, whose values are parameters always
        assert PLANTED not in shown


def test_what_an_error_is_can_still_be_seen(database: Engine) -> None:
    error = raised_by(database, "SELECT * FROM dispatcher.nowhere")
    assert explain_outage(error) == "the database is not at this version's migration: run `dispatcher migrate`"


@pytest.fixture
def nowhere() -> Iterator[Engine]:
    engine = make_engine("postgresql+psycopg2://planted-user:planted-word@planted-host.invalid:5432/planted-name")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("connect", [Engine.connect, lambda engine: from_pool(engine).__enter__()])
@pytest.mark.parametrize("options", ["--planted-option", "-cplanted.option%3Dplanted-word%20-cplanted_no%3D1"])
def test_nothing_of_the_urls_options_is_reported(
    settings: Settings, options: str, connect: Callable[[Engine], object]
) -> None:
    url = make_url(settings.database_url.get_secret_value())
    several = f"{LOOPBACK}:{refusing_port()},{LOOPBACK}:{url.port}"
    engine = make_engine(
        f"postgresql+psycopg2://{url.username}:{url.password}@{several}/{url.database}?options={options}"
    )
    with pytest.raises(DBAPIError) as raised:
        connect(engine)
    assert "planted" not in all_that_is_shown(raised.value)
    assert str(url.password) not in all_that_is_shown(raised.value)


def test_of_a_server_that_cannot_be_reached_neither_host_nor_user_is_reported(nowhere: Engine) -> None:
    with pytest.raises(DBAPIError) as raised:
        nowhere.connect()
    assert "planted" not in all_that_is_shown(raised.value)
    assert "could not translate host name" in str(raised.value)
    assert explain_outage(raised.value) == "the database's host named in DATABASE_URL cannot be found"


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (MemoryError(), True),
        (ValueError("out of memory"), False),
        (DatabaseError("", {}, psycopg2.DatabaseError("out of memory for query result")), True),
        (OperationalError("", {}, psycopg2.OperationalError("cannot allocate memory for input buffer")), True),
        (OperationalError("", {}, psycopg2.OperationalError('lost synchronization with server: got type "D"')), True),
        (OperationalError("", {}, psycopg2.OperationalError("PQconnectdb() failed")), True),
        (OperationalError("", {}, psycopg2.OperationalError("server closed the connection unexpectedly")), False),
    ],
)
def test_memory_that_this_process_was_refused_is_told_from_an_outage(error: Exception, refused: bool) -> None:
    assert is_refused_memory(error) is refused


def test_memory_that_the_server_was_refused_is_an_outage(database: Engine) -> None:
    error = raised_by(database, "DO $$ BEGIN RAISE 'out of memory' USING ERRCODE = '53200'; END $$")
    assert not is_refused_memory(error)
    assert explain_outage(error) == "the database is not available at the moment"
