from datetime import UTC, datetime, timedelta

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, make_url, text

from dispatcher.db.migrate import upgrade
from dispatcher.db.models import Base
from dispatcher.db.partition_rounds import create_partitions
from dispatcher.db.partitions import PARTITIONED, create_partition, missing_partitions
from dispatcher.db.version import MIGRATIONS, check_migrated, newest_migration
from dispatcher.errors import ConfigurationError
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.states import Reason, State
from tests.factories import change, rows, upkeep_once
from tests.integration.db.databases import database_at, differences_from_models


def test_the_migrations_build_exactly_the_models(database: Engine) -> None:
    assert differences_from_models(database) == []


def test_the_newest_migration_is_known_by_its_file() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert newest_migration() == ScriptDirectory.from_config(config).get_current_head()


def test_partial_indexes_and_checks_are_those_of_the_models(database: Engine) -> None:
    # Alembic does not compare these.
    found = {
        row.indexname: row.indexdef
        for row in rows(database, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'dispatcher'")
    }
    for table in Base.metadata.sorted_tables:
        for index in table.indexes:
            where = index.dialect_options["postgresql"]["where"]
            assert (where is not None) == (" WHERE " in found[str(index.name)]), index.name
    (check,) = rows(
        database, "SELECT pg_get_constraintdef(oid) AS rule FROM pg_constraint WHERE conname = 'deliveries_state_check'"
    )
    assert {word for word in State if f"'{word}'" in check.rule} == set(State)
    (check,) = rows(
        database,
        "SELECT pg_get_constraintdef(oid) AS rule FROM pg_constraint WHERE conname = 'deliveries_reason_check'",
    )
    assert {word for word in Reason if f"'{word}'" in check.rule} == set(Reason)


def test_migrating_again_changes_nothing(database: Engine, settings: Settings) -> None:
    (before,) = rows(database, "SELECT id FROM dispatcher.installation")
    upgrade(settings.database_url.get_secret_value())
    (after,) = rows(database, "SELECT id FROM dispatcher.installation")
    assert after.id == before.id


def test_a_database_that_cannot_store_every_message_is_refused(database: Engine, settings: Settings) -> None:
    url = make_url(settings.database_url.get_secret_value()).set(database="latin")
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
        try:
            with pytest.raises(ConfigurationError, match="encoding is LATIN1"):
                upgrade(url.render_as_string(hide_password=False))
        finally:
            connection.execute(text("DROP DATABASE latin"))


def test_from_0_1_open_circuits_options_and_what_a_person_asked_for_are_kept(settings: Settings) -> None:
    with database_at("0008", settings.database_url.get_secret_value(), "from_0_1") as (old, url):
        change(old, _ROWS_OF_0_1, account=new_id(), off=new_id(), on=new_id())
        upgrade(url)
        contracts = {row.name: row.contract for row in rows(old, "SELECT name, contract FROM dispatcher.webhooks")}
        assert contracts == {
            "off": {"circuit_breaker": False, "timeout_seconds": 5},
            "on": {"timeout_seconds": 7},
        }
        (circuit,) = rows(
            old,
            "SELECT name, failures, opened_at < trial_at AS open, trials FROM dispatcher.circuit_breakers"
            " JOIN dispatcher.webhooks ON id = webhook_id",
        )
        assert tuple(circuit) == ("on", 7, True, 2)
        assert [row.bypasses_circuit for row in rows(old, "SELECT bypasses_circuit FROM dispatcher.deliveries")] == [
            True
        ]


_ROWS_OF_0_1 = """
INSERT INTO dispatcher.accounts (id, name) VALUES (:account, 'acme');
INSERT INTO dispatcher.webhooks (id, account_id, name, url_masked, event_types, contract, retry_span, enabled)
VALUES (:off, :account, 'off', '-', '{a}', '{"gate": false, "timeout_seconds": 5}', '2 days', true),
       (:on, :account, 'on', '-', '{a}', '{"timeout_seconds": 7}', '2 days', true);
INSERT INTO dispatcher.gates (webhook_id, failures, failing_since, closed_at, probes, probe_at)
VALUES (:on, 7, now() - interval '5 minutes', now(), 2, now() + interval '90 seconds');
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at, passes_gate)
VALUES (:on, :on, :on, 'ready', now(), now(), true);
"""


def test_for_a_database_without_our_tables_the_error_says_what_to_do(database: Engine) -> None:
    with database.connect() as connection:
        check_migrated(connection)
        connection.execute(text("ALTER TABLE dispatcher.migrations RENAME TO gone"))
        with pytest.raises(ConfigurationError, match="run `dispatcher migrate`"):
            check_migrated(connection)
        connection.rollback()


def test_newer_tables_work_with_the_version_before_unless_they_exclude_it(database: Engine) -> None:
    with database.connect() as connection:
        connection.execute(text("UPDATE dispatcher.migrations SET version_num = '9998'"))
        check_migrated(connection)
        connection.execute(text("UPDATE dispatcher.installation SET oldest_revision = '9997'"))
        with pytest.raises(ConfigurationError, match="migration 9998, for versions with migration 9997 or a newer"):
            check_migrated(connection)
        connection.rollback()


def test_migrating_with_an_older_version_leaves_newer_tables_as_they_are(
    database: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    url, ours = settings.database_url.get_secret_value(), newest_migration()
    (before,) = rows(database, "SELECT oldest_revision FROM dispatcher.installation")
    change(database, "UPDATE dispatcher.migrations SET version_num = '9998'")
    try:
        upgrade(url)
        assert "a newer version's (migration 9998), with which this version works" in caplog.text
        change(database, "UPDATE dispatcher.installation SET oldest_revision = '9997'")
        with pytest.raises(ConfigurationError, match="for versions with migration 9997 or a newer one; this version"):
            upgrade(url)
    finally:
        change(database, "UPDATE dispatcher.migrations SET version_num = :ours", ours=ours)
        change(database, "UPDATE dispatcher.installation SET oldest_revision = :it", it=before.oldest_revision)


def test_rows_land_in_the_partition_of_their_week(database: Engine) -> None:
    now = datetime.now(UTC)
    monday = now - timedelta(days=now.weekday())
    event = new_id()
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)"
                " VALUES (:id, :id, 't', now(), 0, '')"
            ),
            {"id": event},
        )
        place = connection.scalar(
            text("SELECT c.relname FROM dispatcher.events e JOIN pg_class c ON c.oid = e.tableoid WHERE e.id = :id"),
            {"id": event},
        )
    assert place == f"events_{monday:%Y%m%d}"


def partitions(database: Engine) -> dict[str, set[str]]:
    """The partitions of each partitioned table that the database has."""
    found = rows(
        database,
        "SELECT p.relname AS parent, c.relname AS name"
        " FROM pg_partitioned_table t JOIN pg_class p ON p.oid = t.partrelid"
        " LEFT JOIN pg_inherits i ON i.inhparent = p.oid LEFT JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE p.relnamespace = 'dispatcher'::regnamespace",
    )
    return {row.parent: {other.name for other in found if other.parent == row.parent} for row in found}


def test_every_partitioned_table_has_this_week_and_eight_more_and_no_other_place(database: Engine) -> None:
    now = datetime.now(UTC)
    create_partitions(database, now)  # a new week may have begun since the migration
    monday = now - timedelta(days=now.weekday())
    wanted = [f"{monday + timedelta(weeks=week):%Y%m%d}" for week in range(9)]
    found = partitions(database)
    assert found.keys() == {"events", "requests", "attempts", "audit"}
    for table, names in found.items():
        assert {f"{table}_{part}" for part in wanted} <= names
        assert f"{table}_default" not in names


def test_upkeep_makes_the_partitions_that_are_missing(database: Engine, settings: Settings) -> None:
    before = partitions(database)
    newest = {table: max(names) for table, names in before.items()}
    for name in newest.values():
        change(database, f"DROP TABLE dispatcher.{name}")
    assert upkeep_once(settings)["partitions"] == len(newest) == 4
    assert partitions(database) == before
    assert upkeep_once(settings)["partitions"] == 0


def test_partitions_are_made_ahead_and_only_once(database: Engine) -> None:
    later = datetime.now(UTC) + timedelta(weeks=3)
    with database.connect() as connection:
        assert missing_partitions(connection, datetime.now(UTC)) == []
        ahead = missing_partitions(connection, later)
        assert len(ahead) == 3 * len(PARTITIONED)
        for partition in ahead:
            create_partition(connection, partition)
        assert missing_partitions(connection, later) == []
        connection.rollback()
