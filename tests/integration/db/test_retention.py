"""What is too old goes: whole weeks without keeping anybody waiting, the rest in small pieces; open deliveries stay."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from dispatcher.db.engines import make_engine
from dispatcher.db.migrate import upgrade
from dispatcher.db.partitions import PARTITIONED
from dispatcher.db.retention import weeks
from dispatcher.db.retention.forecast import forecast
from dispatcher.db.retention.kinds import Kind
from dispatcher.db.retention.pieces import LOOKED_AT
from dispatcher.settings import Settings
from tests.factories import change, deliveries, make_due, make_quarantined_notice, make_webhook, rows
from tests.integration.db.databases import database_at
from tests.integration.db.retained import (
    ALL,
    KINDS,
    WEEK,
    exists,
    ids,
    make_old,
    name_at,
    names,
    plans_of,
    retain_all,
    whole_reads,
)
from tests.integration.db.retained import now as now  # noqa: PLC0414 - a fixture
from tests.integration.db.test_each_migration import REVISIONS
from tests.integration.db.test_partitions import read_everything
from tests.many_rows import make_many, make_many_open

DAY = timedelta(days=1)
AGES = [timedelta(days=days) for days in (1, 8, 29, 40, 60)]


class Died(Exception):
    """The process is gone."""


@pytest.fixture
def old(database: Engine, settings: Settings, now: datetime) -> datetime:
    """A delivered event of each of several ages. The time."""
    make_webhook(database, settings, url="https://example.com/")
    change(database, "DELETE FROM dispatcher.audit")
    for age in AGES:
        make_old(database, now - age)
    return now


@contextmanager
def statements_of(database: Engine) -> Iterator[list[tuple[str, int]]]:
    """What is executed, and how many rows each statement changed or found."""
    ran: list[tuple[str, int]] = []

    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        ran.append((statement, cursor.rowcount))

    event.listen(database, "after_cursor_execute", note)
    try:
        yield ran
    finally:
        event.remove(database, "after_cursor_execute", note)


def test_each_kind_is_kept_for_its_time_and_no_longer(database: Engine, old: datetime) -> None:
    done = retain_all(database, old)
    assert done["weeks_left"] == done["kinds_left"] == 0
    assert [len(ids(database, table)) for table in ("events", "attempts", "requests", "audit")] == [3] * 4
    assert len(deliveries(database)) == 3
    bodies = rows(database, "SELECT answer_excerpt, answer_headers, status FROM dispatcher.requests ORDER BY id DESC")
    assert [(row.answer_excerpt and bytes(row.answer_excerpt), row.answer_headers) for row in bodies] == [
        (b"said", "C: d"),
        (None, None),
        (None, None),
    ]
    assert {row.status for row in bodies} == {200}
    for table in PARTITIONED:
        assert name_at(table, old - 5 * WEEK - 31 * DAY) not in names(database, table)
        assert name_at(table, old - 29 * DAY) in names(database, table)


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_that_is_off_stays_for_ever(database: Engine, old: datetime, kind: Kind) -> None:
    make_quarantined_notice(database)
    change(
        database,
        "UPDATE dispatcher.notices SET quarantined_at = NULL, quarantined_reason = NULL,"
        " observed_at = now() - interval '2 months'",
    )
    retain_all(database, old, replace(ALL, days={**ALL.days, kind: None}))
    left = {
        Kind.EVENTS: len(ids(database, "events")),
        Kind.DELIVERIES: len(deliveries(database)),
        Kind.ATTEMPTS: len(ids(database, "attempts")),
        Kind.AUDIT: len(ids(database, "audit")),
        Kind.NOTICES: len(ids(database, "notices")),
        Kind.BODIES: len(rows(database, "SELECT 1 FROM dispatcher.requests WHERE answer_excerpt IS NOT NULL")),
    }
    assert left == dict.fromkeys(left, 3) | {Kind.NOTICES: 0, Kind.BODIES: 1} | {
        kind: {Kind.NOTICES: 1, Kind.BODIES: 3}.get(kind, len(AGES))
    }


@pytest.mark.parametrize("state", ["ready", "claimed", "waiting"])
def test_a_week_with_an_open_delivery_stays_until_that_has_ended(database: Engine, old: datetime, state: str) -> None:
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = :state, finished_at = NULL WHERE id ="
        " (SELECT min(id::text)::uuid FROM dispatcher.deliveries)",
        state=state,
    )
    oldest = deliveries(database)[0]
    done = retain_all(database, old)
    assert done["weeks_left"] == 1
    assert deliveries(database)[0].id == oldest.id
    assert oldest.event_id in ids(database, "events")
    assert name_at("events", old - 40 * DAY) not in names(database, "events")
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'delivered', finished_at = now() WHERE id = :id",
        id=oldest.id,
    )
    assert retain_all(database, old)["weeks_left"] == 0
    assert oldest.event_id not in ids(database, "events")
    assert deliveries(database)[0].id == oldest.id  # it has just ended


def test_what_ended_late_goes_when_its_own_time_is_over(database: Engine, old: datetime) -> None:
    make_webhook_wait = "UPDATE dispatcher.deliveries SET state = 'waiting', finished_at = NULL"
    change(database, make_webhook_wait)
    retain_all(database, old)
    make_due(database)
    change(database, "UPDATE dispatcher.deliveries SET state = 'delivered', finished_at = :at", at=old - 31 * DAY)
    change(database, "UPDATE dispatcher.retention SET began_at = began_at - interval '25 hours'")
    retain_all(database, old)
    assert len(deliveries(database)) == 3


def test_a_reader_with_an_open_snapshot_delays_weeks_and_keeps_nobody_waiting(database: Engine, old: datetime) -> None:
    with database.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        read_everything(reader)
        seen = reader.scalar(text("SELECT count(*) FROM dispatcher.events"))
        running = pool.submit(retain_all, database, old)
        rounds = 0
        while not running.done():
            for table in PARTITIONED:
                with database.begin() as other:
                    other.execute(text("SET LOCAL lock_timeout = '1s'"))
                    other.execute(text(f"LOCK TABLE ONLY dispatcher.{table} IN ROW EXCLUSIVE MODE"))
                    other.execute(text(f"SELECT count(*) FROM dispatcher.{table}"))
            rounds += 1
        done = running.result()
        assert rounds > 0
        assert (done["weeks_removed"], done["kinds_left"]) == (0, 0)
        assert done["weeks_left"] == len(PARTITIONED)  # the oldest of each table; the others are not tried
        assert len(deliveries(database)) == 3
        assert reader.scalar(text("SELECT count(*) FROM dispatcher.events")) == seen
    assert retain_all(database, old)["weeks_left"] == 0
    assert len(ids(database, "events")) == 3


def test_no_lock_that_keeps_others_out_is_taken_on_a_table_with_partitions(
    database: Engine, old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    strong: list[str] = []

    def look(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "pg_locks" not in statement:
            with eyes.connect() as eye:
                strong.extend(eye.scalars(_STRONG))

    eyes = database
    event.listen(database, "after_cursor_execute", look)
    try:
        retain_all(database, old)
    finally:
        event.remove(database, "after_cursor_execute", look)
    assert strong  # on weeks, when they are dropped
    assert set(strong) & {*PARTITIONED, "deliveries", "notices"} == set()


_STRONG = text("""
SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.granted AND c.relnamespace = 'dispatcher'::regnamespace AND c.relkind IN ('r', 'p')
  AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock')
""")


def test_a_delivery_that_is_opened_again_at_the_last_moment_keeps_its_week(
    database: Engine, old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    detach = weeks._detach

    def late(engine: Engine, week: Any) -> None:
        if week.table == "events":
            change(
                database,
                "UPDATE dispatcher.deliveries SET state = 'ready', finished_at = NULL WHERE event_id >= :a"
                " AND event_id < :b",
                a=week.first,
                b=week.end,
            )
        detach(engine, week)

    monkeypatch.setattr(weeks, "_detach", late)
    done = retain_all(database, old, replace(ALL, days={**ALL.days, Kind.DELIVERIES: None}))
    opened = [row.event_id for row in deliveries(database) if row.state == "ready"]
    assert len(opened) == done["weeks_left"] == 2
    assert set(opened) <= set(ids(database, "events"))
    assert rows(database, "SELECT 1 FROM pg_description WHERE description LIKE 'dispatcher removes%'") == []


@pytest.mark.parametrize("dies_after", ["_mark", "_detach"])
def test_who_dies_in_between_is_gone_on_for(
    database: Engine, old: datetime, monkeypatch: pytest.MonkeyPatch, dies_after: str
) -> None:
    does = getattr(weeks, dies_after)

    def die(*arguments: Any) -> None:
        does(*arguments)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(weeks, dies_after, die)
        with pytest.raises(Died):
            retain_all(database, old)
    before = {name for table in PARTITIONED for name in names(database, table)}
    retain_all(database, old)
    assert len(ids(database, "events")) == 3
    assert not [
        name
        for name in before
        if name.startswith("events") and exists(database, name) and name < name_at("events", old - 40 * DAY)
    ]
    assert rows(database, "SELECT 1 FROM pg_description WHERE description LIKE 'dispatcher removes%'") == []


def test_a_week_that_was_begun_and_is_to_be_kept_after_all_is_left_alone(
    database: Engine, old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(weeks, "_detach", die)
        with pytest.raises(Died):
            retain_all(database, old)
    retain_all(database, old, replace(ALL, days=dict.fromkeys(KINDS)))
    assert rows(database, "SELECT 1 FROM pg_description WHERE description LIKE 'dispatcher removes%'") == []
    assert len(ids(database, "events")) == len(AGES)


def test_a_week_that_an_operator_has_detached_stays(database: Engine, old: datetime) -> None:
    name = name_at("requests", old - 60 * DAY)
    change(database, f"ALTER TABLE dispatcher.requests DETACH PARTITION dispatcher.{name}")
    retain_all(database, old)
    assert exists(database, name)


def test_no_statement_takes_more_than_a_piece_and_the_next_run_goes_on(
    database: Engine, settings: Settings, now: datetime
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    count = 2 * LOOKED_AT + 10
    make_old(database, now - 29 * DAY, count=count)
    change(database, "UPDATE dispatcher.deliveries SET finished_at = now() - interval '1 year'")
    kept = replace(ALL, days={**ALL.days, Kind.DELIVERIES: 1})
    with statements_of(database) as ran:
        first = retain_all(database, now, kept, seconds=0)
        assert (first["deliveries_removed"], first["kinds_left"]) == (0, 3)
        for _ in range(50):
            if not retain_all(database, now, kept, seconds=0.5)["kinds_left"]:
                break
    assert deliveries(database) == []
    assert rows(database, "SELECT 1 FROM dispatcher.requests WHERE answer_excerpt IS NOT NULL") == []
    assert max(rows_of for _, rows_of in ran) == LOOKED_AT
    looks = [rows_of for statement, rows_of in ran if "FROM dispatcher.requests" in statement and "LIMIT" in statement]
    assert sum(looks) == count  # nothing is looked at twice


def test_what_others_hold_is_not_waited_for(database: Engine, old: datetime) -> None:
    with database.begin() as other:
        other.execute(text("SELECT 1 FROM dispatcher.deliveries FOR UPDATE"))
        other.execute(text("SET LOCAL lock_timeout = '1s'"))
        assert retain_all(database, old)["deliveries_removed"] == 0
    change(database, "UPDATE dispatcher.retention SET began_at = began_at - interval '25 hours'")
    assert retain_all(database, old)["deliveries_removed"] == 2


def test_a_database_that_was_in_use_keeps_what_nobody_has_set_a_time_for(
    database: Engine, settings: Settings, old: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    change(database, "UPDATE dispatcher.installation SET retention_from = :at", at=old + 14 * DAY)
    try:
        done = retain_all(database, old, replace(ALL, said=frozenset({Kind.EVENTS})))
        assert (len(ids(database, "events")), len(ids(database, "audit"))) == (3, len(AGES))
        assert (done["deliveries_removed"], done["bodies_removed"]) == (0, 0)
        upgrade(settings.database_url.get_secret_value())
        assert "see dispatcher retention --dry-run" in caplog.text
        retain_all(database, old + 15 * DAY, replace(ALL, said=frozenset()))
        assert len(ids(database, "audit")) == 2
    finally:
        change(database, "UPDATE dispatcher.installation SET retention_from = NULL")


def test_a_database_that_was_in_use_is_spared_for_14_days_and_a_new_one_is_not(settings: Settings) -> None:
    server = settings.database_url.get_secret_value()
    spared = "SELECT retention_from - now() AS left FROM dispatcher.installation"
    with database_at(REVISIONS[REVISIONS.index("0018") - 1], server, "in_use") as (older, url):
        upgrade(url, revision="0018")
        assert timedelta(days=13.9) < rows(older, spared)[0].left <= timedelta(days=14)
    with database_at("0018", server, "new") as (newer, _):
        assert rows(newer, spared)[0].left is None


def test_every_statement_uses_an_index(database: Engine, settings: Settings, now: datetime) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_many(database, webhook.id)
    make_many_open(database, webhook.id, 20_000)
    make_old(database, now - 60 * DAY, count=20_000)
    make_old(database, now - 29 * DAY, count=20_000)
    change(database, "ANALYZE")
    with plans_of(database) as plans:
        retain_all(database, now, seconds=3)
        with database.connect() as connection:
            forecast(connection, ALL, now)
    assert len(plans) > 10
    assert whole_reads(database, plans) == []


def test_weeks_go_through_a_pooler_too(database: Engine, settings: Settings, old: datetime) -> None:
    pooled = make_engine(settings.database_url.get_secret_value(), pooler=True)
    try:
        assert retain_all(pooled, old)["weeks_left"] == 0
    finally:
        pooled.dispose()
    assert len(ids(database, "events")) == 3


def test_a_role_that_does_not_own_the_tables_is_told_who_can(
    database: Engine, old: datetime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def may_not(engine: Engine, _: object) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE ROLE nobody"))

    monkeypatch.setattr(weeks, "_mark", may_not)
    done = retain_all(database, old)
    assert (done["weeks_left"], done["deliveries_removed"]) == (len(PARTITIONED), 2)
    assert "run the SQL of `dispatcher roles --print`, or let the owner run `dispatcher retention`" in caplog.text
