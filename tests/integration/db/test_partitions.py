"""Partitions are made beside readers and writers: nobody is kept waiting for long, and nothing else waits for them."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, Engine, text

from dispatcher import enqueue
from dispatcher.db.migrate import upgrade
from dispatcher.db.partitions import PARTITIONED, PartitionRound, create_partitions, missing_partitions
from dispatcher.settings import Settings
from tests.factories import MESSAGE, RECEIVED, change, make_webhook, upkeep_once
from tests.integration.workers.notices.scenario import fail, the_notice, webhook_with_contact
from tests.waiting import wait_for_a_lock

WEEKS_MISSING = 2
OTHERS = len(PARTITIONED) - 1  # the tables that the reader does not read


@pytest.fixture
def behind(database: Engine) -> Iterator[set[str]]:
    """The furthest weeks of each table are not made yet; their names."""
    with database.begin() as connection:
        assert missing_partitions(connection, datetime.now(UTC)) == []
        names = set()
        for table in PARTITIONED:
            inherited = connection.scalars(
                text(
                    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                    " WHERE i.inhparent = to_regclass(:parent) AND c.relname NOT LIKE '%default' ORDER BY 1"
                ),
                {"parent": f"dispatcher.{table}"},
            ).all()
            names |= set(inherited[-WEEKS_MISSING:])
        for name in names:
            connection.execute(text(f"DROP TABLE dispatcher.{name}"))
    yield names
    create_partitions(database, datetime.now(UTC))


@pytest.fixture
def reader(database: Engine) -> Iterator[Connection]:
    """Reads `events` in a transaction that stays open, as a backup does."""
    with database.connect() as connection:
        connection.execute(text("SET LOCAL application_name = 'nightly backup'"))
        connection.execute(text("LOCK TABLE dispatcher.events IN ACCESS SHARE MODE"))
        yield connection


def missing(database: Engine) -> set[str]:
    with database.begin() as connection:
        return {partition.name for partition in missing_partitions(connection, datetime.now(UTC))}


def test_beside_a_reader_upkeep_goes_on_and_makes_the_rest_once_it_has_gone(
    database: Engine,
    settings: Settings,
    behind: set[str],
    reader: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail(database, webhook_with_contact(database, settings))
    change(database, "UPDATE dispatcher.notices SET due_at = NULL, claimed_until = now() - interval '1 second'")
    with caplog.at_level(logging.WARNING, "dispatcher.db.partitions"):
        done = upkeep_once(settings)
    assert (done["partitions"], done["partitions_left"]) == (OTHERS * WEEKS_MISSING, WEEKS_MISSING)
    assert missing(database) == {name for name in behind if name.startswith("events_")}
    assert (done["notices_abandoned"], the_notice(database).claimed_until) == (1, None)
    (told,) = [text for name, _, text in caplog.record_tuples if name == "dispatcher.db.partitions"]
    assert "events is in use by database process" in told
    assert "nightly backup" in told

    reader.rollback()
    done = upkeep_once(settings)
    assert (done["partitions"], done["partitions_left"]) == (WEEKS_MISSING, 0)
    assert missing(database) == set()


def test_beside_a_reader_an_event_is_accepted_while_partitions_are_tried(
    database: Engine, settings: Settings, behind: set[str], reader: Connection
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(create_partitions, database, datetime.now(UTC))
        wait_for_a_lock(database)
        assert enqueue(RECEIVED, MESSAGE, account="acme").deliveries == 1
        assert trying.result() == PartitionRound(made=OTHERS * WEEKS_MISSING, left=WEEKS_MISSING)


def test_beside_a_reader_migrating_leaves_the_partitions_to_upkeep(
    database: Engine, settings: Settings, behind: set[str], reader: Connection
) -> None:
    upgrade(settings.database_url.get_secret_value())
    assert missing(database) == {name for name in behind if name.startswith("events_")}


def test_two_rounds_at_once_make_each_partition_once(database: Engine, behind: set[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: create_partitions(database, datetime.now(UTC)), range(4)))
    assert missing(database) == set()
    assert {done.left for done in rounds} == {0}


def test_a_week_whose_rows_came_too_early_does_not_keep_the_others_from_being_made(
    database: Engine, behind: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    with database.begin() as connection:
        (early,) = [
            partition.bounds.split("'")[1]
            for partition in missing_partitions(connection, datetime.now(UTC))
            if partition.name == min(name for name in behind if name.startswith("events_"))
        ]
    change(
        database,
        "INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)"
        " VALUES (CAST(:id AS uuid), CAST(:id AS uuid), 't', now(), 0, '')",
        id=early,
    )
    with caplog.at_level(logging.WARNING, "dispatcher.db.partitions"):
        done = create_partitions(database, datetime.now(UTC))
    assert done == PartitionRound(made=len(PARTITIONED) * WEEKS_MISSING - 1, left=1)
    assert "events_default holds rows of that time" in caplog.text
    change(database, "DELETE FROM dispatcher.events")
