"""Secrets are bound to their rows: one that is copied elsewhere opens nothing. How a database gets there that older
versions have used, beside them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from dispatcher import enqueue
from dispatcher.db import version
from dispatcher.db.binding import BINDS_FROM, WAY_BACK, Binding, Progress, has_settled, is_due, planned
from dispatcher.db.heartbeat import API, Heartbeat
from dispatcher.encryption.bound import is_bound
from dispatcher.encryption.stored import ciphertext_columns
from dispatcher.errors import ConfigurationError, Unreadable
from dispatcher.installation import Installation
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from dispatcher.web.heartbeats import Heartbeats
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import CIPHERTEXTS, Webhooks
from tests.conftest import ENCRYPTION_KEY
from tests.factories import (
    change,
    change_webhook,
    deliver_all,
    forget_encryption,
    in_use_before,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.installations import installation_for
from tests.receiver import Receiver

NOW = datetime(2026, 12, 1, tzinfo=UTC)
URL = "https://example.com/"
PLANNED = "SELECT secrets_bound_from - now() AS it FROM dispatcher.installation"


@pytest.fixture
def used(database: Engine) -> Iterator[Engine]:
    """A database that an older version has used."""
    with in_use_before(database):
        yield database


def is_bound_by_column(database: Engine) -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {}
    for column in ciphertext_columns():
        for row in rows(database, f"SELECT {column.name} AS it FROM dispatcher.{column.table.name}"):
            if row.it is not None:
                found.setdefault(column.name, set()).add(is_bound(bytes(row.it)))
    return found


def opened(settings: Settings, webhook: object) -> Registered:
    installation = installation_for(settings)
    with installation.transaction() as session:
        return Webhooks(session, installation).read(None, webhook)  # type: ignore[arg-type]


def turn_back(database: Engine, span: str) -> None:
    change(database, f"UPDATE dispatcher.installation SET secrets_bound_from = now() - interval '{span}'")


def bind(settings: Settings) -> tuple[int, int]:
    done = upkeep_once(settings)
    return done["secrets_bound"], done["secrets_unbound"]


@pytest.mark.parametrize("column", CIPHERTEXTS)
@pytest.mark.parametrize("where", ["another account's row", "another column"])
def test_a_secret_that_is_copied_elsewhere_is_neither_shown_nor_used(
    database: Engine, settings: Settings, receiver: Receiver, column: str, where: str
) -> None:
    victim, own = (
        make_webhook(
            database,
            settings,
            account=account,
            url=receiver.url(f"/{account}?key=t0ken-1#x"),
            authorization=Basic("user", "s3cret-password"),
        )
        for account in ("victim", "thief")
    )
    if where == "another column":
        victim, column_of_victim = own, "secrets_ciphertext" if column != "secrets_ciphertext" else "url_ciphertext"
    else:
        column_of_victim = column
    change(
        database,
        f"UPDATE dispatcher.webhooks SET {column} = "
        f"(SELECT {column_of_victim} FROM dispatcher.webhooks WHERE id = :of), version = version + 1 WHERE id = :id",
        of=victim.id,
        id=own.id,
    )
    name = {"url_ciphertext": "called_url", "url_given_ciphertext": "url", "secrets_ciphertext": "secrets"}[column]
    with pytest.raises(Unreadable, match="made for another row"):
        getattr(opened(settings, own.id), name)
    enqueue("message.sent", {"id": 1}, account="thief")
    deliver_all(settings)
    assert not receiver.received
    (row,) = rows(database, "SELECT quarantined_reason AS why FROM dispatcher.webhooks WHERE id = :id", id=own.id)
    assert row.why.startswith("a stored secret was made for another row")


def test_an_unbound_one_is_refused_once_everything_is_bound(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    """It may come from a dump of the time before, of any row."""
    own = make_webhook(database, settings, url=receiver.url("/own"))
    stolen = Fernet(ENCRYPTION_KEY).encrypt(receiver.url("/victim?key=t0ken-1").encode())
    change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = :it, version = version + 1", it=stolen)
    with pytest.raises(Unreadable, match="could come from another row"):
        opened(settings, own.id).called_url  # noqa: B018 - read
    enqueue("message.sent", {"id": 1}, account="acme")
    deliver_all(settings)
    assert not receiver.received


def test_nor_is_it_opened_once_somebody_has_emptied_the_mark_that_everything_is_bound(
    database: Engine, settings: Settings
) -> None:
    own = make_webhook(database, settings, url=URL)
    stolen = Fernet(ENCRYPTION_KEY).encrypt(b"https://example.com/victim?key=t0ken-1")
    change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = :it, version = version + 1", it=stolen)
    change(database, "UPDATE dispatcher.installation SET digest_key = NULL")
    try:
        with pytest.raises(Unreadable, match="could come from another row"):
            opened(settings, own.id).called_url  # noqa: B018 - read
    finally:
        forget_encryption(database)


def test_a_new_database_binds_from_its_first_secret_on(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/#x", authorization=Basic("user", "password"))
    assert is_bound_by_column(database) == {key: {True} for key in ("digest_key", *CIPHERTEXTS)}
    assert installation_for(settings).vault.binding is Binding.DONE


def test_a_database_in_use_gets_there_in_steps_and_works_at_each(
    used: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(used, settings, url=receiver.url("/#x"), authorization=Basic("user", "password"))

    def works() -> None:
        before = len(receiver.received)
        enqueue("message.sent", {"id": 1}, account="acme")
        deliver_all(settings)
        assert len(receiver.received) == before + 1
        assert opened(settings, webhook.id).url == receiver.url("/#x")

    everything = {key: {False} for key in ("digest_key", *CIPHERTEXTS)}
    assert is_bound_by_column(used) == everything
    assert bind(settings) == (0, 0)
    (left,) = rows(used, PLANNED)
    assert WAY_BACK - timedelta(minutes=1) < left.it <= WAY_BACK, "an older version may come back"
    assert bind(settings) == (0, 0)
    works()
    assert is_bound_by_column(used) == everything

    turn_back(used, "1 second")
    assert bind(settings) == (0, 0), "it begins: what is written from now on is bound"
    works()
    assert is_bound_by_column(used) == everything
    assert bind(settings) == (3, 0)
    works()
    assert is_bound_by_column(used) == everything | {key: {True} for key in CIPHERTEXTS}
    assert bind(settings) == (0, 0)
    assert installation_for(settings).vault.binding is Binding.BEGUN, "somebody may not know yet"
    assert is_bound_by_column(used)["digest_key"] == {False}

    turn_back(used, "61 minutes")
    assert bind(settings) == (0, 0)
    works()
    assert is_bound_by_column(used)["digest_key"] == {True}, "the end"
    assert installation_for(settings).vault.binding is Binding.DONE
    (row,) = rows(used, "SELECT version, updated_at FROM dispatcher.webhooks")
    assert (row.version, row.updated_at) == (webhook.version, webhook.updated_at)
    assert bind(settings) == (0, 0)


def test_from_the_beginning_on_older_versions_are_not_started_and_secrets_are_written_bound(
    used: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = make_webhook(used, settings, url="https://example.com/")
    turn_back(used, "1 second")
    with used.connect() as connection:
        monkeypatch.setattr(version, "newest_migration", lambda: "0019")
        version.check_migrated(connection)
        monkeypatch.undo()
        upkeep_once(settings)
        monkeypatch.setattr(version, "newest_migration", lambda: "0019")
        with pytest.raises(ConfigurationError, match=f"for versions with migration {BINDS_FROM}"):
            version.check_migrated(connection)
        monkeypatch.undo()
    change_webhook(used, settings, webhook, "update", url="https://example.com/new")
    assert is_bound_by_column(used)["url_ciphertext"] == {True}


def test_while_an_older_version_lives_nothing_begins(
    used: Engine, settings: Settings, installation: Installation
) -> None:
    heartbeat = Heartbeat()
    heartbeat.beat(used, API, "serving")
    change(used, "UPDATE dispatcher.processes SET schema_to = '0019'")
    turn_back(used, "1 second")
    upkeep_once(settings)
    assert rows(used, PLANNED)[0].it is None, "from now on it is put off"
    assert heartbeat.beat(used, API, "serving").binding is Binding.NOT_YET
    change(used, "UPDATE dispatcher.processes SET seen_at = now() - interval '31 seconds' WHERE schema_to = '0019'")
    upkeep_once(settings)
    assert rows(used, PLANNED)[0].it > WAY_BACK - timedelta(minutes=1)


def test_each_heartbeat_tells_how_far_it_is(used: Engine, settings: Settings) -> None:
    make_webhook(used, settings, url=URL)
    told = [Heartbeat().beat(used, API, "serving").binding]
    turn_back(used, "1 second")
    upkeep_once(settings)
    told.append(Heartbeat().beat(used, API, "serving").binding)
    upkeep_once(settings)
    turn_back(used, "61 minutes")
    upkeep_once(settings)
    told.append(Heartbeat().beat(used, API, "serving").binding)
    assert told == [Binding.NOT_YET, Binding.BEGUN, Binding.DONE]


def test_processes_learn_it_with_their_heartbeats(used: Engine, settings: Settings) -> None:
    serving, delivering = Installation(settings), installation_for(settings)
    assert {made.vault.binding for made in (serving, delivering)} == {Binding.NOT_YET}
    change(used, f"UPDATE dispatcher.installation SET oldest_revision = '{BINDS_FROM}'")
    heartbeats = Heartbeats(lambda: serving)
    heartbeats.begin()
    heartbeats.end()
    deliver_all(settings)
    assert {made.vault.binding for made in (serving, delivering)} == {Binding.BEGUN}
    serving.close()


def test_a_secret_that_no_key_opens_and_one_that_is_locked_put_off_the_end(used: Engine, settings: Settings) -> None:
    lost, held, _ = (make_webhook(used, settings, signing_keys=[], url=URL, name=name) for name in "abc")
    unbound = Fernet(Fernet.generate_key()).encrypt(b"https://example.com/")
    change(used, "UPDATE dispatcher.webhooks SET url_ciphertext = :it WHERE id = :id", it=unbound, id=lost.id)
    turn_back(used, "1 second")
    upkeep_once(settings)
    turn_back(used, "61 minutes")
    with used.connect() as connection:
        connection.execute(text("SELECT 1 FROM dispatcher.webhooks WHERE id = :id FOR UPDATE"), {"id": held.id})
        assert bind(settings) == (1, 2)
    assert bind(settings) == (1, 1)
    assert bind(settings) == (0, 1)
    assert installation_for(settings).vault.binding is Binding.BEGUN
    change_webhook(used, settings, lost, "delete")
    assert bind(settings) == (0, 0)
    assert installation_for(settings).vault.binding is Binding.DONE


@pytest.mark.parametrize(
    ("bound_from", "is_older_alive", "plan", "due", "settled"),
    [
        (None, False, NOW + WAY_BACK, False, False),
        (None, True, None, False, False),
        (NOW + timedelta(1), False, NOW + timedelta(1), False, False),
        (NOW + timedelta(1), True, None, False, False),
        (NOW, False, NOW, True, False),
        (NOW, True, None, False, False),
        (NOW - timedelta(hours=1), False, NOW - timedelta(hours=1), True, True),
    ],
)
def test_what_follows_from_heartbeats(
    bound_from: datetime | None, is_older_alive: bool, plan: datetime | None, due: bool, settled: bool
) -> None:
    progress = Progress(Binding.NOT_YET, bound_from, is_older_alive)
    assert (planned(progress, NOW), is_due(progress, NOW), has_settled(progress, NOW)) == (plan, due, settled)
