"""The checks of the database, on a real one that is well, and then is not."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine, make_url, text

from dispatcher.db.partition_rounds import create_partitions
from dispatcher.db.partitions import partitions_of, week_of
from dispatcher.diagnosis.checks import database as checks
from dispatcher.diagnosis.judging import server as judging
from dispatcher.ids import first_id_at
from dispatcher.settings import Settings
from tests import poolers
from tests.conftest import OTHER_KEY
from tests.dead_ports import refusing_port
from tests.factories import change, change_webhook, in_use_before, make_webhook, rows, upkeep_once
from tests.integration.db.retained import make_old
from tests.integration.db.retained import now as now  # noqa: PLC0414 - a fixture
from tests.integration.diagnosis.patients import found_by, level_of

OF_DATABASE = ("database", "pooler", "migrations", "rights", "encryption", "binding", "storing", "clock")
OF_SERVER = ("connections", "snapshot", "slots", "bloat")
OF_TABLES = ("partitions", "retention")


@contextmanager
def changed(database: Engine, does: str, undoes: str) -> Iterator[None]:
    change(database, does)
    try:
        yield
    finally:
        change(database, undoes)


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.mark.parametrize("name", [*OF_DATABASE, *OF_SERVER, *OF_TABLES])
def test_a_database_that_is_well_is_said_to_be(name: str, settings: Settings, database: Engine) -> None:
    (found,) = found_by(name, settings)
    assert (found.level, found.advice) == ("ok", ""), found


def test_how_far_secrets_are_bound_is_said_and_what_keeps_them_from_it(settings: Settings, database: Engine) -> None:
    with in_use_before(database):
        lost = make_webhook(database, settings, url="https://example.com/")
        assert "a week after its last heartbeat" in found_by("binding", settings)[0].says
        begin = "UPDATE dispatcher.installation SET oldest_revision = '0022', secrets_bound_from = now()"
        change(database, f"{begin} - interval '2 days'")
        foreign = Fernet(Fernet.generate_key()).encrypt(b"https://example.com/")
        change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = :it", it=foreign)
        upkeep_once(settings)
        (found,) = found_by("binding", settings)
        assert (found.level, found.says[:33]) == ("warn", "1 secrets cannot be bound to thei")
        assert "secrets rotate" in found.advice
        change_webhook(database, settings, lost, "delete")
        assert found_by("binding", settings)[0].says == "secrets are being bound to their rows: 0 are left"


def test_one_that_is_away_fails_with_where_it_should_be_and_without_its_password(settings: Settings) -> None:
    port = refusing_port()
    (found,) = found_by(
        "database", at(settings, f"postgresql+psycopg2://us:planted-secret@127.0.0.1:{port}/dispatcher")
    )
    assert (found.level, found.where) == ("fail", f"127.0.0.1:{port}")
    assert "does not answer" in found.says
    assert "When something is away" in found.advice
    assert "planted-secret" not in str(found)


class _OtherPid:
    """Leads to the database as a pooler does: what it tells a client of its session is not the server's."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, server = self._listener.accept()[0], socket.create_connection(self._target)
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, to: socket.socket, changes: bool) -> None:
        key = b"K" + struct.pack("!I", 12)  # BackendKeyData: the number and a secret
        with suppress(OSError), source, to:
            while data := source.recv(65_536):
                place = data.find(key)
                if changes and place >= 0:
                    data = data[: place + 5] + struct.pack("!I", 77) + data[place + 9 :]
                to.sendall(data)


def test_a_pooler_that_is_not_said_fails(settings: Settings, database: Engine) -> None:
    url = make_url(settings.database_url.get_secret_value())
    between = _OtherPid(str(url.host), int(url.port or 0))
    try:
        led = at(settings, url.set(host="127.0.0.1", port=between.port).render_as_string(hide_password=False))
        (found,) = found_by("pooler", led)
        (said,) = found_by("pooler", led.model_copy(update={"database_pooler": True}))
    finally:
        between.close()
    assert (found.level, "DISPATCHER_DATABASE_POOLER=true" in found.advice) == ("fail", True)
    assert said.says == "a pooler, as DISPATCHER_DATABASE_POOLER says"


@pytest.mark.skipif(poolers.MISSING is not None, reason=str(poolers.MISSING))
def test_the_real_pooler_is_seen(settings: Settings, database: Engine) -> None:
    with poolers.pooling(settings.database_url.get_secret_value(), "transaction", sessions=4) as pooler:
        pooled = at(settings, pooler.url)
        assert level_of("pooler", pooled.model_copy(update={"database_pooler": True})) == "ok"
        (found,) = found_by("database", pooled)
        assert "DISPATCHER_DATABASE_POOLER=true" in found.says


def test_tables_of_an_older_version_fail(settings: Settings, database: Engine) -> None:
    (migration,) = [row.version_num for row in rows(database, "SELECT version_num FROM dispatcher.migrations")]
    undo = f"UPDATE dispatcher.migrations SET version_num = '{migration}'"
    with changed(database, "UPDATE dispatcher.migrations SET version_num = '0001'", undo):
        (found,) = found_by("migrations", settings)
    assert found.level == "fail"
    assert "run `dispatcher migrate`" in found.says


def test_a_column_that_somebody_has_taken_away_fails(settings: Settings, database: Engine) -> None:
    with changed(
        database,
        "ALTER TABLE dispatcher.audit RENAME COLUMN address TO place",
        "ALTER TABLE dispatcher.audit RENAME COLUMN place TO address",
    ):
        (found,) = found_by("migrations", settings)
    assert (found.level, found.says) == ("fail", "missing in the database: audit.address")


def test_a_role_that_may_only_read_is_told_so_and_most_is_still_checked(settings: Settings, database: Engine) -> None:
    with changed(
        database,
        "REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dispatcher FROM CURRENT_USER",
        "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dispatcher TO CURRENT_USER",
    ):
        levels = {name: level_of(name, settings) for name in (*OF_DATABASE, *OF_SERVER, *OF_TABLES)}
        (rights,), (storing,) = found_by("rights", settings), found_by("storing", settings)
    assert {name for name, level in levels.items() if level != "ok"} == {"rights", "storing"}
    assert {levels["rights"], levels["storing"]} == {"not_checked"}
    assert "may only read" in rights.says
    assert "permission denied for table accounts" in storing.says


def test_a_table_that_may_not_be_read_is_named_and_its_check_says_so(settings: Settings, database: Engine) -> None:
    with changed(
        database,
        "REVOKE SELECT ON dispatcher.processes FROM CURRENT_USER",
        "GRANT SELECT ON dispatcher.processes TO CURRENT_USER",
    ):
        (rights,), (heartbeats,) = found_by("rights", settings), found_by("heartbeats", settings)
    assert (rights.level, "may not read: processes" in rights.says) == ("warn", True)
    assert (heartbeats.level, "processes" in heartbeats.says) == ("not_checked", True)


def test_a_key_that_opens_nothing_fails(settings: Settings, database: Engine) -> None:
    make_webhook(database, settings, url="https://example.com/")
    other = settings.model_copy(update={"encryption_keys": SecretStr(OTHER_KEY)})
    (found,) = found_by("encryption", other)
    assert (found.level, "DISPATCHER_ENCRYPTION_KEYS" in found.says) == ("fail", True)
    assert OTHER_KEY not in str(found)


def test_a_clock_that_is_off_is_told_with_its_side(
    settings: Settings, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = checks.time
    for off, level, side in ((-60, "warn", "60 s behind"), (3_600, "fail", "60 min ahead of")):
        monkeypatch.setattr(checks, "time", lambda off=off: right() + off)
        (found,) = found_by("clock", settings)
        assert (found.level, side in found.says) == (level, True), found


def test_a_transaction_that_stays_open_is_found(
    settings: Settings, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "OLD_SNAPSHOT", (-1.0, 9e9))
    with database.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        (found,) = found_by("snapshot", settings)
    assert (found.level, f"({pid})" in found.advice) == ("warn", True)
    assert level_of("snapshot", settings) == "ok"


def test_autovacuum_that_is_off_for_a_table_is_found(settings: Settings, database: Engine) -> None:
    with changed(
        database,
        "ALTER TABLE dispatcher.notices SET (autovacuum_enabled = false)",
        "ALTER TABLE dispatcher.notices RESET (autovacuum_enabled)",
    ):
        (found,) = found_by("bloat", settings)
    assert (found.level, found.where) == ("warn", "notices")


def test_a_week_without_a_partition_fails_and_one_ahead_warns(settings: Settings, database: Engine) -> None:
    moment: datetime = rows(database, "SELECT now() AS now")[0].now
    try:
        for ahead, level in ((timedelta(weeks=1), "warn"), (timedelta(0), "fail")):
            week = week_of("audit", first_id_at(moment + ahead))
            with database.connect() as connection:
                name = next(one.name for one in partitions_of(connection, "audit") if one.first == week.first)
            change(database, f"DROP TABLE dispatcher.{name}")
            (found,) = found_by("partitions", settings)
            assert (found.level, found.where) == (level, "audit")
    finally:
        create_partitions(database, moment)


def test_a_default_partition_is_found(settings: Settings, database: Engine) -> None:
    with changed(
        database,
        "CREATE TABLE dispatcher.audit_rest PARTITION OF dispatcher.audit DEFAULT",
        "DROP TABLE dispatcher.audit_rest",
    ):
        (found,) = found_by("partitions", settings)
    assert (found.level, found.says) == ("warn", "has an empty default partition")


def test_an_upgraded_database_is_told_what_would_go_and_when(
    settings: Settings, database: Engine, now: datetime
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    make_old(database, now - timedelta(days=60))
    with changed(
        database,
        "UPDATE dispatcher.installation SET retention_from = '2100-01-01'",
        "UPDATE dispatcher.installation SET retention_from = NULL",
    ):
        found = {one.where: one for one in found_by("retention", settings)}
        decided = settings.model_copy(update={"retention_deliveries": 7})
        decided.model_fields_set.add("retention_deliveries")
        left = {one.where for one in found_by("retention", decided)}
    assert {one.level for one in found.values()} == {"warn"}
    assert "about 1 rows" in found["deliveries"].says
    assert "2100-01-01" in found["deliveries"].says
    assert "DISPATCHER_RETENTION_DELIVERIES" in found["deliveries"].advice
    assert found["events"].says.split(",")[0].endswith("weeks")
    assert left == found.keys() - {"deliveries"}
