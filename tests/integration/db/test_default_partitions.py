"""Default partitions, which 0.2.0 made, are taken away while others read and write; no row is out of sight."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from dispatcher.db.migrate import upgrade
from dispatcher.db.partition_rounds import PartitionRound, create_partitions
from dispatcher.db.partitions import PARTITIONED, WEEKS_AHEAD, missing_partitions, week_of
from dispatcher.ids import first_id_at
from dispatcher.settings import Settings
from tests.factories import change, rows
from tests.integration.db.databases import database_at
from tests.integration.db.test_partitions import partitions, read_everything

NOW = datetime.now(UTC)
WEEK = timedelta(weeks=1)
ALL_WEEKS = len(PARTITIONED) * (WEEKS_AHEAD + 1)
_INSERT = {
    "events": "(id, account_id, type, occurred_at, delivery_count, data) SELECT id, id, 't', now(), 0, ''",
    "requests": "(id, webhook_id, method, url_masked, headers_masked, answer_cut, answer_unreadable, started_at,"
    " duration) SELECT id, id, 'POST', '-', '', false, false, now(), interval '0'",
    "attempts": "(delivery_id, number, id) SELECT id, 1, id",
    "audit": "(id, actor_kind, actor, action, target_kind, target_id, detail) SELECT id, '-', '-', '-', '-', id, '{}'",
}


@pytest.fixture
def old(settings: Settings) -> Iterator[Engine]:
    """A database of 0.2.0 with default partitions and no others, and with the functions that make partitions."""
    functions = import_module("dispatcher.db.migrations.versions.0019_functions")
    with database_at("0009", settings.database_url.get_secret_value(), "from_0_2_defaults") as (engine, _):
        make_defaults(engine)
        change(engine, functions.BEGIN_PARTITION)
        change(engine, functions.ATTACH_PARTITION)
        yield engine


def make_defaults(engine: Engine) -> None:
    """As 0.2.0 does it."""
    for table in PARTITIONED:
        change(
            engine,
            f"CREATE TABLE IF NOT EXISTS dispatcher.{table}_default PARTITION OF dispatcher.{table} DEFAULT",
        )


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def insert(engine: Engine, moment: datetime, count: int = 1) -> None:
    first = first_id_at(moment).int
    for table, columns in _INSERT.items():
        change(
            engine,
            f"INSERT INTO dispatcher.{table} {columns} FROM unnest(CAST(:ids AS uuid[])) AS i(id)",
            ids=[str(UUID(int=first + n)) for n in range(count)],
        )


def places(engine: Engine, table: str) -> dict[str, int]:
    """How many rows each partition of a table has."""
    found = rows(
        engine,
        f"SELECT c.relname AS name, count(*) AS n FROM dispatcher.{table} t JOIN pg_class c ON c.oid = t.tableoid"
        " GROUP BY 1",
    )
    return {row.name: row.n for row in found}


def place_of(table: str, moment: datetime) -> str:
    return week_of(table, first_id_at(moment)).name


def test_an_upgrade_takes_empty_ones_away_and_0_2_makes_no_others(old: Engine) -> None:
    upgrade(url_of(old))
    make_defaults(old)
    for table in PARTITIONED:
        assert f"{table}_default" not in partitions(old, table)
        assert rows(old, f"SELECT * FROM dispatcher.{table}_default") == []
    assert create_partitions(old, NOW) == PartitionRound(0, 0)


def test_rows_of_all_times_are_moved_and_stay_readable(old: Engine) -> None:
    moments = [datetime(1970, 1, 2, tzinfo=UTC), NOW - 3 * WEEK, NOW - 2 * WEEK, NOW + 5 * WEEK, NOW + 900 * WEEK]
    for moment in moments:
        insert(old, moment, 300)
    insert(old, datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    wanted, ends, seen = 300 * len(moments) + 1, threading.Event(), set()

    def look() -> None:
        with old.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not ends.is_set():
                for table in PARTITIONED:
                    seen.add(connection.scalar(text(f"SELECT count(*) FROM dispatcher.{table}")))

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        upgrade(url_of(old))
        ends.set()
        looking.result()
    assert seen == {wanted}
    for table in PARTITIONED:
        assert f"{table}_default" not in partitions(old, table)
        found = places(old, table)
        assert {place_of(table, moment): 300 for moment in moments}.items() <= found.items()
        assert sum(found.values()) == wanted


def test_rows_of_this_week_stay_until_it_is_over_and_later_weeks_are_made(
    old: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    insert(old, NOW)
    insert(old, NOW - 5 * WEEK)
    upgrade(url_of(old))
    assert "holds rows of this week, which are moved when it is over" in caplog.text
    with old.connect() as connection:
        assert {partition.name for partition in missing_partitions(connection, NOW)} == {
            place_of(table, NOW) for table in PARTITIONED
        }
    insert(old, NOW + timedelta(seconds=1))  # as others do beside it
    for table in PARTITIONED:
        assert places(old, table) == {f"{table}_default": 2, place_of(table, NOW - 5 * WEEK): 1}
    later = NOW + WEEK + timedelta(hours=2)
    assert create_partitions(old, later).left == 0
    for table in PARTITIONED:
        assert places(old, table) == {place_of(table, NOW): 2, place_of(table, NOW - 5 * WEEK): 1}
        assert f"{table}_default" not in partitions(old, table)


def test_beside_a_reader_they_are_left_nobody_waits_and_the_next_round_goes_on(
    old: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.db.partitions.WEEKS_AHEAD", 1)  # for each week of each table, it tries for a second
    insert(old, NOW - 5 * WEEK)
    refused: list[Exception] = []
    ends = threading.Event()

    def write() -> None:
        with old.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET lock_timeout = '1s'"))
            while not ends.is_set():
                for table, columns in _INSERT.items():
                    try:
                        connection.execute(
                            text(f"INSERT INTO dispatcher.{table} {columns} FROM (SELECT CAST(:id AS uuid) AS id) i"),
                            {"id": first_id_at(NOW - 5 * WEEK + timedelta(milliseconds=next(count)))},
                        )
                    except DBAPIError as error:
                        refused.append(error)
                ends.wait(0.02)

    count = iter(range(1, 10**9))
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        with old.connect() as reader:
            read_everything(reader)
            create_partitions(old, NOW)
        ends.set()
        writing.result()
    assert refused == []
    assert "is in use by database process" in caplog.text
    assert "nightly backup" in caplog.text
    left = create_partitions(old, NOW).left
    assert left == 0
    assert {name for table in PARTITIONED for name in places(old, table)} == {
        place_of(table, NOW - 5 * WEEK) for table in PARTITIONED
    }


def test_rows_that_take_longer_than_upkeep_has_are_left_to_migrate(
    old: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    insert(old, NOW - 5 * WEEK, 100)
    change(
        old,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END';"
        "CREATE TRIGGER slow BEFORE DELETE ON dispatcher.events_default FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    create_partitions(old, NOW, move_seconds=0.2)
    assert "the default partition of events has too many rows: `dispatcher migrate` moves them" in caplog.text
    assert places(old, "events") == {"events_default": 100}
    assert places(old, "audit") == {place_of("audit", NOW - 5 * WEEK): 100}
    change(old, "DROP TRIGGER slow ON dispatcher.events_default")
    upgrade(url_of(old))
    assert places(old, "events") == {place_of("events", NOW - 5 * WEEK): 100}
