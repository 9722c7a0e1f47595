"""Partitions are made beside readers and writers, who never wait; and default partitions of 0.2 are taken away."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.db.migrate import upgrade
from dispatcher.db.partition_rounds import PartitionRound, create_partitions
from dispatcher.db.partitions import PARTITIONED, missing_partitions, week_of
from dispatcher.errors import Unavailable
from dispatcher.ids import first_id_at, new_id
from dispatcher.settings import Settings
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change,
    deliver_all,
    deliveries,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.integration.workers.notices.scenario import fail, the_notice, webhook_with_contact
from tests.receiver import Receiver
from workers import loop
from workers.results import writer

WEEKS_MISSING = 2
WEEK = timedelta(weeks=1)
_EVENT = (
    "INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)"
    " VALUES (CAST(:id AS uuid), CAST(:id AS uuid), 't', now(), 0, '')"
)


@pytest.fixture
def behind(database: Engine) -> Iterator[set[str]]:
    """The furthest weeks of each table are not made yet; their names."""
    names = set()
    for table in PARTITIONED:
        names |= set(partitions(database, table)[-WEEKS_MISSING:])
    for name in names:
        change(database, f"DROP TABLE dispatcher.{name}")
    yield names
    create_partitions(database, datetime.now(UTC))


@pytest.fixture
def reader(database: Engine) -> Iterator[Connection]:
    """Has read all tables, in a transaction that stays open, as a backup's does."""
    with database.connect() as connection:
        read_everything(connection)
        yield connection


def read_everything(connection: Connection) -> None:
    connection.execute(text("SET LOCAL application_name = 'nightly backup'"))
    tables = connection.scalars(
        text(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'dispatcher'::regnamespace"
            " AND relkind IN ('r', 'p')"
        )
    ).all()
    connection.execute(text(f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE"))


def partitions(database: Engine, table: str) -> list[str]:
    found = rows(
        database,
        "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = to_regclass(:table) ORDER BY 1",
        table=f"dispatcher.{table}",
    )
    return [row.name for row in found]


def missing(database: Engine) -> set[str]:
    with database.begin() as connection:
        return {partition.name for partition in missing_partitions(connection, datetime.now(UTC))}


def test_partitions_are_made_beside_who_reads_and_writes_all_tables_for_long(
    database: Engine, settings: Settings, behind: set[str], reader: Connection
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    change(database, "UPDATE dispatcher.notices SET due_at = NULL, claimed_until = now() - interval '1 second'")
    for table in PARTITIONED:
        reader.execute(text(f"LOCK TABLE dispatcher.{table} IN ROW EXCLUSIVE MODE"))
    reader.execute(text(_EVENT), {"id": new_id()})
    assert enqueue(RECEIVED, MESSAGE, account="acme").deliveries == 1
    done = upkeep_once(settings)
    assert (done["partitions"], done["partitions_left"]) == (len(behind), 0)
    assert missing(database) == set()
    assert (done["notices_abandoned"], the_notice(database).claimed_until) == (1, None)


def test_migrating_makes_partitions_beside_a_reader(
    database: Engine, settings: Settings, behind: set[str], reader: Connection
) -> None:
    upgrade(settings.database_url.get_secret_value())
    assert missing(database) == set()


def test_a_new_partition_is_like_the_others(database: Engine, behind: set[str]) -> None:
    create_partitions(database, datetime.now(UTC))
    for table in PARTITIONED:
        old, *_, new = partitions(database, table)
        shapes = [
            rows(
                database,
                "SELECT replace(pg_get_indexdef(indexrelid), :name, '') AS definition,"
                " EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = indexrelid) AS attached"
                " FROM pg_index WHERE indrelid = to_regclass(:table) ORDER BY 1",
                name=name,
                table=f"dispatcher.{name}",
            )
            for name in (old, new)
        ]
        assert shapes[0] == shapes[1]
        assert all(row.attached for row in shapes[1])


def test_two_rounds_at_once_make_each_partition_once(database: Engine, behind: set[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: create_partitions(database, datetime.now(UTC)), range(4)))
    assert missing(database) == set()
    assert {done.left for done in rounds} == {0}


def test_a_week_can_be_detached_concurrently_and_is_not_taken_back(database: Engine) -> None:
    newest = partitions(database, "requests")[-1]
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER TABLE dispatcher.requests DETACH PARTITION dispatcher.{newest} CONCURRENTLY"))
    assert create_partitions(database, datetime.now(UTC)) == PartitionRound(made=1, left=0)
    assert partitions(database, "requests")[-1] == f"{newest}_2"
    change(database, f"DROP TABLE dispatcher.{newest}, dispatcher.{newest}_2")
    assert create_partitions(database, datetime.now(UTC)).made == 1


def test_a_week_for_which_somebody_made_a_larger_partition_is_not_made(database: Engine, behind: set[str]) -> None:
    with database.begin() as connection:
        wanted = [one for one in missing_partitions(connection, datetime.now(UTC)) if one.table == "events"]
    change(
        database,
        "CREATE TABLE dispatcher.events_later PARTITION OF dispatcher.events"
        f" FOR VALUES FROM ('{wanted[0].first}') TO (MAXVALUE)",
    )
    assert not {name for name in missing(database) if name.startswith("events")}
    change(database, "DROP TABLE dispatcher.events_later")


@pytest.fixture
def drop(database: Engine) -> Iterator[Callable[..., None]]:
    """Drops what has a place for this week and the next one of some tables, which is made again afterwards."""

    def do(*tables: str) -> None:
        for table in tables:
            for moment in (datetime.now(UTC), datetime.now(UTC) + WEEK):
                change(database, f"DROP TABLE dispatcher.{week_of(table, first_id_at(moment)).name}")

    yield do
    create_partitions(database, datetime.now(UTC))


def test_an_event_without_a_place_is_refused_with_what_to_do_and_taken_once_upkeep_ran(
    database: Engine, settings: Settings, drop: Callable[..., None]
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    drop("events")
    refused = r"not stored: the database has no partition for this week: run `dispatcher migrate`"
    with pytest.raises(Unavailable, match=refused):
        enqueue(RECEIVED, MESSAGE, account="acme")
    with pytest.raises(Unavailable, match=refused):
        list(enqueue_many([Event(type="a", data=n, account="acme") for n in range(3)]))
    with pytest.raises(Unavailable, match=refused), Session(database) as session:
        enqueue(RECEIVED, MESSAGE, account="acme", session=session)
    assert deliveries(database) == []
    upkeep_once(settings)
    assert enqueue(RECEIVED, MESSAGE, account="acme").deliveries == 1


def test_a_loop_makes_the_place_for_what_it_has_sent_and_sends_nothing_twice(
    database: Engine, settings: Settings, receiver: Receiver, drop: Callable[..., None]
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(3):
        enqueue(RECEIVED, MESSAGE, account="acme")
    drop("requests", "attempts")
    assert deliver_all(settings)["delivered"] == 3
    assert len(receiver.received) == len(attempts(database)) == 3
    assert missing(database) == set()


def test_a_loop_that_may_not_make_it_sends_no_more_than_it_can_record_later(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    drop: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def refused(*_: object) -> None:
        tried.append(len(receiver.received))
        if len(tried) == 1:
            enqueue(RECEIVED, MESSAGE, account="acme")
        elif len(tried) == 12:
            create_partitions(database, datetime.now(UTC))

    monkeypatch.setattr(writer, "create_partitions", refused)
    monkeypatch.setattr(loop, "DATABASE_PAUSE", 0.05)
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    drop("requests")
    assert deliver_all(settings)["delivered"] == 2
    assert tried == [1] * 12
    assert len(receiver.received) == len(attempts(database)) == 2


def test_a_role_that_may_not_change_the_tables_is_told_and_upkeep_goes_on(
    database: Engine, settings: Settings, behind: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    change(database, "REVOKE CREATE ON SCHEMA dispatcher FROM CURRENT_USER")
    try:
        done = upkeep_once(settings)
        assert (done["partitions"], done["partitions_left"]) == (0, len(behind))
        assert "this user may not change events: run the SQL of `dispatcher roles --print`" in caplog.text
    finally:
        change(database, "GRANT CREATE ON SCHEMA dispatcher TO CURRENT_USER")
