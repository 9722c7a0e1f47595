"""Workers remove what is old without owning a table; nobody waits, and nothing else goes. Only the owner can erase."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from dispatcher import enqueue
from dispatcher.db.partitions import PARTITIONED, Partition, partitions_of
from dispatcher.db.retention import weeks
from dispatcher.db.retention.kinds import Kind
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import change, deliver_all, deliveries, make_webhook, rows
from tests.installations import installation_for
from tests.integration.cli.conftest import run_command
from tests.integration.db.retained import ALL, KINDS, exists, ids, make_old, name_at, names, retain_all
from tests.integration.db.retained import now as now  # noqa: PLC0414 - a fixture
from tests.receiver import Receiver

pytestmark = pytest.mark.xdist_group("roles")

DAY = timedelta(days=1)
AGES = [timedelta(days=days) for days in (1, 8, 29, 40, 60)]
SettingsOf = Callable[[str], Settings]
_MARKS = "SELECT description FROM pg_description WHERE description LIKE 'dispatcher removes%'"


@pytest.fixture
def database(owner: Engine) -> Engine:
    """The owner's, for the fixture `now` and for looking."""
    return owner


@pytest.fixture
def workers(settings_of: SettingsOf) -> Engine:
    return installation_for(settings_of("workers")).engine


@pytest.fixture
def old(owner: Engine, settings_of: SettingsOf, now: datetime) -> datetime:
    """A delivered event of each of several ages. The time."""
    make_webhook(owner, settings_of("api"), url="https://example.com/")
    change(owner, "DELETE FROM dispatcher.audit")
    for age in AGES:
        make_old(owner, now - age)
    return now


def over(owner: Engine, old: datetime, table: str) -> Partition:
    """The table's week of 60 days ago."""
    name = name_at(table, old - 60 * DAY)
    with owner.connect() as connection:
        (week,) = [week for week in partitions_of(connection, table) if week.name == name]
    return week


def test_workers_remove_every_kind_that_is_old(owner: Engine, workers: Engine, old: datetime) -> None:
    old_names = [name_at(table, old - 60 * DAY) for table in PARTITIONED]
    done = retain_all(workers, old)
    assert {name: count for name, count in done.items() if count} == {
        "weeks_removed": done["weeks_removed"],
        "deliveries_removed": 2,
        "bodies_removed": done["bodies_removed"],
    }
    assert done["weeks_removed"] >= 2 * len(PARTITIONED)
    assert not [name for name in old_names if exists(owner, name)]
    assert [len(ids(owner, table)) for table in ("events", "deliveries", "audit")] == [3, 3, 3]
    captured = "SELECT FROM dispatcher.requests WHERE answer_excerpt IS NOT NULL"
    assert len(rows(owner, captured)) == 1  # of yesterday


def test_the_weeks_of_workers_keep_nobody_waiting_for_a_reader(owner: Engine, workers: Engine, old: datetime) -> None:
    timeouts: list[str] = []

    def note(connection: Any, _cursor: object, statement: str, *_: object) -> None:
        if "detach_week_v1" in statement:
            timeouts.append(connection.scalar(text("SHOW lock_timeout")))

    event.listen(workers, "before_cursor_execute", note)
    try:
        with owner.connect() as reader, ThreadPoolExecutor(1) as pool:
            for table in PARTITIONED:
                reader.execute(text(f"SELECT count(*) FROM dispatcher.{table}"))
            running = pool.submit(retain_all, workers, old)
            rounds = 0
            while not running.done():
                for table in PARTITIONED:
                    with owner.begin() as other:
                        other.execute(text("SET LOCAL lock_timeout = '1s'"))
                        other.execute(text(f"LOCK TABLE ONLY dispatcher.{table} IN ROW EXCLUSIVE MODE"))
                rounds += 1
            done = running.result()
            assert rounds > 0
            assert (done["weeks_removed"], done["weeks_left"]) == (0, len(PARTITIONED))
            assert timeouts == ["200ms"] * len(PARTITIONED)  # each table once in a round: behind it all queue up
            assert rows(owner, _MARKS) == []
    finally:
        event.remove(workers, "before_cursor_execute", note)
    assert retain_all(workers, old)["weeks_left"] == 0


def test_a_delivery_that_is_opened_again_at_the_last_moment_keeps_its_week(
    owner: Engine, workers: Engine, old: datetime
) -> None:
    week = over(owner, old, "events")

    def reopen(_connection: Any, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "detach_week_v1" in statement and parameters["week"] == week.name:
            change(
                owner,
                "UPDATE dispatcher.deliveries SET state = 'ready', finished_at = NULL"
                " WHERE event_id >= :first AND event_id < :end",
                first=week.first,
                end=week.end,
            )

    event.listen(workers, "before_cursor_execute", reopen)
    try:
        done = retain_all(workers, old, replace(ALL, days={**ALL.days, Kind.DELIVERIES: None}))
    finally:
        event.remove(workers, "before_cursor_execute", reopen)
    assert done["weeks_left"] == 1
    assert week.name in names(owner, "events")
    assert rows(owner, _MARKS) == []


def test_workers_go_on_with_what_the_owner_has_begun(owner: Engine, workers: Engine, old: datetime) -> None:
    week = names(owner, "events")[0]
    with owner.connect() as reader:
        reader.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        reader.execute(text("SELECT count(*) FROM dispatcher.events"))
        retain_all(owner, old)
        pending = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhdetachpending"
        assert [row.name.removeprefix("dispatcher.") for row in rows(owner, pending)] == [week]
        assert retain_all(workers, old)["weeks_left"] == 1  # it waits for the reader, who may still read it
    assert retain_all(workers, old)["weeks_left"] == 0
    assert not exists(owner, week)
    assert rows(owner, _MARKS) == []


def test_workers_leave_alone_what_the_owner_began_and_is_to_be_kept_after_all(
    owner: Engine, workers: Engine, old: datetime
) -> None:
    weeks._mark(owner, over(owner, old, "events"))
    assert len(rows(owner, _MARKS)) == 1
    retain_all(workers, old, replace(ALL, days=dict.fromkeys(KINDS)))
    assert rows(owner, _MARKS) == []
    assert len(ids(owner, "events")) == len(AGES)


@pytest.mark.parametrize("role", ["api", "readonly", "producer"])
def test_no_other_role_removes_anything(owner: Engine, settings_of: SettingsOf, old: datetime, role: str) -> None:
    week = over(owner, old, "requests")
    other = installation_for(settings_of(role)).engine
    with pytest.raises(DBAPIError, match="permission denied"):
        weeks._call(other, weeks._DETACH, week, weeks.LOCK_TIMEOUT)
    assert week.name in names(owner, "requests")


def test_retention_by_hand_needs_the_workers_role_and_looking_does_not(
    owner: Engine, settings_of: SettingsOf, old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("readonly", "api", "workers"):
        monkeypatch.setenv("DATABASE_URL", settings_of(role).database_url.get_secret_value())
        ran = run_command("retention", "--dry-run", "--json")
        assert {one["kind"]: one["weeks"] > 0 for one in ran.document}["events"], (role, ran.err)
    done = run_command("retention", "--json").document
    assert (done["weeks_left"], done["deliveries_removed"]) == (0, 2)
    assert len(ids(owner, "events")) == 3


def test_only_the_owner_erases_messages(
    owner: Engine, settings_of: SettingsOf, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.script("/hook", Answer(200, body=b"thank you"))
    api = settings_of("api")
    make_webhook(owner, api, url=receiver.url("/hook"))
    enqueue("a", {"to": "0821234567"}, account="acme", subject="0821234567", producer=installation_for(api))
    deliver_all(settings_of("workers"))
    messages = "SELECT data, subject, codec FROM dispatcher.events"
    before = rows(owner, messages)
    words = ("erase", "--subject", "0821234567", "--yes")
    for role in ("api", "workers", "readonly"):
        monkeypatch.setenv("DATABASE_URL", settings_of(role).database_url.get_secret_value())
        ran = run_command(*words)
        assert ran.status == 1
        assert "may not do this: `dispatcher roles` shows which role is for what" in ran.err
        assert rows(owner, messages) == before
    monkeypatch.setenv("DATABASE_URL", str(owner.url.render_as_string(hide_password=False)))
    assert run_command(*words).status == 0
    assert [tuple(row) for row in rows(owner, messages)] == [(b"", None, 1)]
    assert len(deliveries(owner)) == 1
