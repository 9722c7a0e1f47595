"""The tables of 0.2.0 are changed while others use them: nobody waits for long, and what was stopped is continued."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from dispatcher.db import migrate
from dispatcher.db.migrate import upgrade
from dispatcher.db.version import check_migrated, newest_migration
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.errors import ConfigurationError
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.states import State
from tests.factories import change, rows
from tests.integration.db.databases import database_at, differences_from_models
from tests.waiting import wait_for_a_lock, wait_for_rows

_ROWS = """
INSERT INTO dispatcher.accounts (id, name) VALUES (:one, 'acme'), (:two, 'other');
INSERT INTO dispatcher.webhooks (id, account_id, url_masked, url_digest, event_types, contract, retry_span, enabled)
VALUES (:one, :one, '-', 'digest', '{a}', '{}', '2 days', true);
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, reason, due_at, give_up_at)
SELECT gen_random_uuid(), gen_random_uuid(), :one, state, CASE state WHEN 'discarded' THEN 'rejected' END, now(), now()
FROM unnest(CAST(:states AS text[])) state;
"""
# For an autovacuum of some minutes.
_MANY_DEAD = """
ALTER TABLE dispatcher.accounts SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
INSERT INTO dispatcher.accounts (id, name) SELECT gen_random_uuid(), n::text FROM generate_series(1, 50000) n;
UPDATE dispatcher.accounts SET name = name || 'a';
"""
_VACUUMED = (
    "SELECT 1 FROM pg_stat_progress_vacuum JOIN pg_locks USING (pid) WHERE relation = 'dispatcher.accounts'::regclass"
)
# Whether the index of claims exists, and can be used.
_VALID = "SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass('dispatcher.deliveries_fair_idx')"


class Old(NamedTuple):
    """A database of 0.2.0 with rows."""

    engine: Engine
    url: str


@pytest.fixture
def old(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Old]:
    """In use, with deliveries in every state."""
    monkeypatch.setattr(migrate, "PAUSE", 0.02)
    with database_at("0009", settings.database_url.get_secret_value(), "from_0_2") as (engine, url):
        change(engine, _ROWS, one=new_id(), two=new_id(), states=[*State])
        yield Old(engine, url)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the tries of an upgrade that failed because a table was locked."""
    failed = threading.Semaphore(0)

    def pause(seconds: float) -> None:
        failed.release()
        sleep(seconds)

    monkeypatch.setattr(migrate, "time", SimpleNamespace(sleep=pause))
    return failed


def test_the_tables_of_0_2_become_those_of_the_models_and_rows_are_kept(old: Old) -> None:
    upgrade(old.url)
    with old.engine.connect() as connection:
        check_migrated(connection)
    assert differences_from_models(old.engine) == []
    assert [row.number for row in rows(old.engine, "SELECT number FROM dispatcher.accounts ORDER BY number")] == [1, 2]
    (webhook,) = rows(old.engine, "SELECT * FROM dispatcher.webhooks")
    assert (webhook.account_no, webhook.destination, webhook.destination_of, webhook.format) == (0, None, None, 1)
    kept = rows(old.engine, "SELECT state, account_no, size, deaths FROM dispatcher.deliveries")
    assert {row.state for row in kept} == set(State)
    assert {tuple(row[1:]) for row in kept} == {(0, 0, 0)}
    assert [row.valid for row in rows(old.engine, _VALID)] == [True]
    indexes = rows(old.engine, "SELECT indexname FROM pg_indexes WHERE indexname = 'deliveries_ready_idx'")
    assert len(indexes) == 1, "0.2.0 claims along it"


@pytest.mark.parametrize("table", ["accounts", "deliveries", "requests"])
def test_an_upgrade_waits_for_a_reader_and_others_do_not_wait_for_the_upgrade(
    old: Old, tries: threading.Semaphore, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with old.engine.connect() as reader:
            reader.execute(text(f"LOCK TABLE dispatcher.{table} IN ACCESS SHARE MODE"))
            upgrading = pool.submit(upgrade, old.url)
            assert tries.acquire(timeout=20)
            wait_for_a_lock(old.engine)  # its next try
            with old.engine.begin() as writer:
                writer.execute(text("SET LOCAL lock_timeout = '10s'"))
                writer.execute(text(f"LOCK TABLE dispatcher.{table} IN ROW EXCLUSIVE MODE"))  # as a writer takes
            assert tries.acquire(timeout=20)
            assert not upgrading.done()
        upgrading.result(60)
    assert "a table is locked by others" in caplog.text
    assert differences_from_models(old.engine) == []


def test_an_autovacuum_that_takes_long_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "PAUSE", 0.02)
    monkeypatch.setattr(migrate, "TRIES", 20)
    often = {"autovacuum_naptime": "1s"}
    with (
        EmbeddedPostgres(tmp_path / "postgres", password="p", durable=False, settings=often) as postgres,
        database_at("0009", postgres.url, "from_0_2") as (old, url),
    ):
        change(old, _MANY_DEAD)
        wait_for_rows(old, _VACUUMED)
        upgrade(url)
        assert differences_from_models(old) == []


def test_an_upgrade_that_never_gets_its_lock_says_what_to_do_and_the_next_one_continues(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "TRIES", 2)
    with old.engine.connect() as reader:
        reader.execute(text("LOCK TABLE dispatcher.requests IN ACCESS SHARE MODE"))
        with pytest.raises(ConfigurationError, match="run `dispatcher migrate` again"):
            upgrade(old.url)
    rows(old.engine, "SELECT size FROM dispatcher.deliveries")  # each table is changed on its own
    assert rows(old.engine, _VALID) == []
    upgrade(old.url)
    assert differences_from_models(old.engine) == []


def test_an_index_whose_build_was_stopped_is_built_again(
    old: Old, tries: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "20ms")
    with ThreadPoolExecutor(1) as pool:
        with old.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
            reader.execute(text("SELECT 1"))  # the build waits for who may still look at older rows
            upgrading = pool.submit(upgrade, old.url)
            wait_for_rows(old.engine, _VALID)
            assert not tries.acquire(timeout=0.2), "the build waits as long as it takes"
            _cancel_the_build(old.engine)
            with pytest.raises(OperationalError, match="canceling statement"):
                upgrading.result(60)
        assert [row.valid for row in rows(old.engine, _VALID)] == [False]
        (before,) = rows(old.engine, "SELECT version_num FROM dispatcher.migrations")
        assert before.version_num < newest_migration()
        upgrade(old.url)
    assert [row.valid for row in rows(old.engine, _VALID)] == [True]
    assert differences_from_models(old.engine) == []


def _cancel_the_build(database: Engine) -> None:
    with database.connect() as connection:
        cancelled = connection.scalars(
            text(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND pid <> pg_backend_pid()"
            )
        ).all()
    assert cancelled == [True]
