"""Rotation of encryption keys: what is re-encrypted, beside whom, and what a stop in the middle leaves."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, LargeBinary, event
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.binding import Binding
from dispatcher.db.models import Base, Webhook
from dispatcher.encryption import rotation as rotations
from dispatcher.encryption import stored as stored_secrets
from dispatcher.encryption.rotation import Rotation
from dispatcher.encryption.stored import ciphertext_columns, place_of
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.errors import WrongEncryptionKey
from dispatcher.ids import new_id
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from tests.conftest import ENCRYPTION_KEY
from tests.factories import (
    TESTER,
    change,
    change_webhook,
    deliver_all,
    forget_encryption,
    make_account,
    make_webhook,
    rows,
)
from tests.forked import Forked
from tests.integration.cli.conftest import Cli
from tests.process_table import eventually
from tests.receiver import Receiver

NEW = Fernet.generate_key().decode()
BOTH = f"{NEW},{ENCRYPTION_KEY}"
PASSWORD = "correct-horse-1"

old, new, both = (EncryptionKeys(keys, Binding.DONE) for keys in (ENCRYPTION_KEY, NEW, BOTH))


@pytest.fixture(autouse=True)
def installation_as_before(database: Engine) -> Iterator[None]:
    """The suite's other tests have the old key alone."""
    forget_encryption(database)
    yield
    forget_encryption(database)


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", BOTH)
    return cli


def make_many(database: Engine, settings: Settings, count: int) -> None:
    """So many webhooks (and the installation's key), under the old key."""
    template = make_webhook(database, settings, signing_keys=[], url="https://example.com/0", enabled=False)
    with Session(database) as session, session.begin():
        account = find_account(session, "acme")
        session.add_all(
            Webhook(
                id=(identifier := new_id()),
                account_id=account.id,
                url_masked="https://example.com/",
                url_ciphertext=old.encrypt(f"https://example.com/{number}", called(identifier)),
                secrets_ciphertext=old.encrypt_document(
                    {"basic": {"username": "u", "password": str(number)}}, secrets(identifier)
                ),
                event_types=["*"],
                contract={},
                retry_span=template.retry_span,
                enabled=False,
            )
            for number in range(1, count)
        )


def rotate(database: Engine, keys: EncryptionKeys = both) -> Rotation:
    rotation = Rotation(database, keys, by=TESTER)
    rotation.run(lambda: None)
    return rotation


def called(webhook: UUID) -> Place:
    return Place("webhooks", "url_ciphertext", webhook)


def secrets(webhook: UUID) -> Place:
    return Place("webhooks", "secrets_ciphertext", webhook)


def stored(database: Engine) -> list[tuple[Place, bytes]]:
    """Every ciphertext in the database."""
    found = []
    for column in ciphertext_columns():
        (key,) = column.table.primary_key.columns
        for row in rows(database, f"SELECT {key.name} AS id, {column.name} AS it FROM dispatcher.{column.table.name}"):
            found += [(place_of(column, row.id), bytes(row.it))] if row.it is not None else []
    return found


def under(keys: EncryptionKeys, database: Engine) -> int:
    """How many secrets these keys open."""
    opened = 0
    for place, ciphertext in stored(database):
        try:
            keys.decrypt(ciphertext, place)
        except WrongEncryptionKey:
            continue
        opened += 1
    return opened


def test_every_column_that_is_named_as_encrypted_is_rotated_and_can_be() -> None:
    named = [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) and (column.name.endswith("_ciphertext") or column.name == "digest_key")
    ]
    assert {"url_ciphertext", "url_given_ciphertext", "secrets_ciphertext", "digest_key"} <= {
        column.name for column in named
    }
    assert [str(column) for column in ciphertext_columns()] == [str(column) for column in named]
    for column in named:
        (key,) = column.table.primary_key.columns
        assert key.type.python_type is UUID


def test_the_newest_key_alone_opens_everything_afterwards_and_webhooks_keep_their_version(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(
        database, settings, url=receiver.url("/a?key=t0ken#x"), authorization=Basic("user", PASSWORD), signing_keys=[]
    )
    rotation = rotate(database)
    assert (rotation.re_encrypted, rotation.already_new, rotation.unreadable) == (4, 0, [])
    assert (rotation.left, rotation.old_keys_are_needed) == (0, False)
    assert (under(old, database), under(new, database)) == (0, 4)
    (row,) = rows(database, "SELECT version, updated_at, url_given_ciphertext FROM dispatcher.webhooks")
    assert (row.version, row.updated_at) == (webhook.version, webhook.updated_at)
    assert new.decrypt(row.url_given_ciphertext, Place("webhooks", "url_given_ciphertext", webhook.id)) == receiver.url(
        "/a?key=t0ken#x"
    )

    enqueue("message.sent", {"id": 1}, account="acme")
    deliver_all(with_keys(settings, NEW))
    (received,) = receiver.received
    assert received.target == "/a?key=t0ken"
    assert received.header("Authorization") is not None


def test_what_is_under_the_newest_key_is_not_touched(database: Engine, settings: Settings) -> None:
    make_many(database, settings, 5)
    rotate(database)
    before = stored(database)
    again = rotate(database)
    assert (again.re_encrypted, again.already_new, again.left) == (0, 10, 0)
    assert stored(database) == before


def test_any_of_several_older_keys_is_replaced(database: Engine, settings: Settings) -> None:
    oldest = Fernet.generate_key().decode()
    webhook = make_webhook(database, settings, signing_keys=[], url="https://example.com/")
    change(
        database,
        "UPDATE dispatcher.webhooks SET secrets_ciphertext = :it",
        it=EncryptionKeys(oldest, Binding.DONE).encrypt_document(
            {"basic": {"username": "u", "password": "p"}}, secrets(webhook.id)
        ),
    )
    rotation = rotate(database, EncryptionKeys(f"{NEW},{ENCRYPTION_KEY},{oldest}"))
    assert (rotation.re_encrypted, rotation.old_keys_are_needed) == (3, False)
    (row,) = rows(database, "SELECT * FROM dispatcher.webhooks")
    assert new.decrypt(row.url_ciphertext, called(row.id)) == "https://example.com/"
    assert new.decrypt_document(row.secrets_ciphertext, secrets(row.id))["basic"]["password"] == "p"
    assert row.id == webhook.id


def test_a_secret_that_no_key_opens_is_named_and_the_rest_is_done(
    cli: Cli, database: Engine, settings: Settings
) -> None:
    make_many(database, settings, 5)
    lost = make_webhook(database, settings, signing_keys=[], url="https://example.com/lost", name="lost")
    foreign = EncryptionKeys(Fernet.generate_key().decode(), Binding.DONE).encrypt(
        "https://example.com/", called(lost.id)
    )
    change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = :it WHERE id = :id", it=foreign, id=lost.id)

    ran = cli("secrets", "rotate")
    assert ran.status == 1
    assert f"Error: webhooks {lost.id}: url_ciphertext cannot be opened with any of these keys" in ran.err
    assert "re-encrypted 10, already under the first key 0" in ran.out
    assert "keep all keys" in ran.out
    assert under(new, database) == 10
    assert rotate(database).unreadable == [Place("webhooks", "url_ciphertext", lost.id)]
    change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = NULL WHERE id = :id", id=lost.id)
    assert not rotate(database).old_keys_are_needed, "a deleted webhook has nothing to open"


def test_a_secret_of_another_row_is_named_and_stays_as_it_is(cli: Cli, database: Engine, settings: Settings) -> None:
    make_many(database, settings, 2)
    first, second = (row.id for row in rows(database, "SELECT id FROM dispatcher.webhooks ORDER BY id"))
    copied = "(SELECT secrets_ciphertext FROM dispatcher.webhooks WHERE id = :of)"
    change(
        database, f"UPDATE dispatcher.webhooks SET secrets_ciphertext = {copied} WHERE id = :id", of=second, id=first
    )
    ran = cli("secrets", "rotate")
    assert ran.status == 1
    assert f"Error: webhooks {first}: secrets_ciphertext was made for another row, or changed" in ran.err
    assert "the first key opens everything" in ran.out
    assert rotate(database).misplaced == [secrets(first)]


def test_a_thousand_webhooks_take_few_statements_and_one_batch_of_memory_at_a_time(
    database: Engine, settings: Settings
) -> None:
    make_many(database, settings, 1000)
    statements: list[str] = []
    sizes: list[int] = []

    def note(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def measure(_connection: Connection, cursor: Any, *_: Any) -> None:
        sizes.append(cursor.rowcount)

    event.listen(database, "before_cursor_execute", note)
    event.listen(database, "after_cursor_execute", measure)
    try:
        rotation = rotate(database)
    finally:
        event.remove(database, "before_cursor_execute", note)
        event.remove(database, "after_cursor_execute", measure)
    assert (rotation.re_encrypted, rotation.old_keys_are_needed) == (2000, False)
    # A column of a thousand is read in ten batches (and once more, to see the end), twice; and written in ten. The
    # installation's key takes three, the column that is empty here, of URLs as they were given, two, and the audit log
    # two.
    assert len(statements) <= 2 * (2 * 11 + 10) + 3 + 2 + 2
    assert max(sizes) == stored_secrets.BATCH


def with_keys(settings: Settings, keys: str) -> Settings:
    return settings.model_copy(update={"encryption_keys": SecretStr(keys)})


def waits_for_a_lock(database: Engine) -> bool:
    return bool(
        rows(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%renewed%'")
    )


def test_a_run_that_is_killed_leaves_whole_secrets_and_the_next_goes_on(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_many(database, settings, 250)
    monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", BOTH)
    (held,) = rows(database, "SELECT id FROM dispatcher.webhooks ORDER BY id OFFSET 150 LIMIT 1")
    with database.connect() as connection:
        # Its second batch of URLs has to wait here.
        connection.exec_driver_sql("SELECT 1 FROM dispatcher.webhooks WHERE id = %s FOR UPDATE", (held.id,))
        with (tmp_path / "said").open("wb") as said:
            process = Forked(("dispatcher", "secrets", "rotate"), os.environ, stdout=said.fileno())
        try:
            assert eventually(lambda: waits_for_a_lock(database))
        finally:
            process.kill()
        assert process.wait(60) == -signal.SIGKILL
    assert eventually(lambda: not waits_for_a_lock(database))
    done = under(new, database)
    assert done == 1 + stored_secrets.BATCH
    assert under(both, database) == 500

    rotation = rotate(database)
    assert (rotation.re_encrypted, rotation.already_new, rotation.old_keys_are_needed) == (500 - done, done, False)


def test_ctrl_c_says_what_was_done_and_that_it_has_to_be_run_again(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    make_many(database, settings, 250)
    replace, calls = rotations.Rotation._replace, []

    def interrupted(*arguments: Any) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return replace(*arguments)

    monkeypatch.setattr(rotations.Rotation, "_replace", interrupted)
    ran = cli("secrets", "rotate")
    assert ran.status != 0
    assert "re-encrypted 101, already under the first key 0" in ran.out
    assert "stopped before the end: keep all keys, and run it again" in ran.out
    monkeypatch.undo()
    assert rotate(database).re_encrypted == 399


def test_what_is_changed_meanwhile_is_not_overwritten(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The customer's new URL comes in between reading and writing, from a process that has the old key in front."""
    changed, deleted = (
        make_webhook(database, settings, signing_keys=[], url=f"https://example.com/{name}") for name in "ab"
    )
    beside = with_keys(settings, f"{ENCRYPTION_KEY},{NEW}")
    examine, once = Rotation._examine, threading.Event()

    def with_a_change_afterwards(self: Rotation, column: Any, batch: Any) -> Any:
        found = examine(self, column, batch)
        if column.name == "url_ciphertext" and not once.is_set():
            once.set()
            change_webhook(database, beside, changed, "update", url="https://example.com/new")
            change_webhook(database, beside, deleted, "delete")
        return found

    monkeypatch.setattr(Rotation, "_examine", with_a_change_afterwards)
    rotation = rotate(database)
    first, second = rows(database, "SELECT * FROM dispatcher.webhooks ORDER BY id")
    assert new.decrypt(first.url_ciphertext, called(first.id)) == "https://example.com/new", (
        "the next pass has renewed it"
    )
    assert second.url_ciphertext is None
    assert (rotation.re_encrypted, rotation.left) == (2, 0)


def test_a_change_that_is_waited_for_is_not_overwritten(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, signing_keys=[], url="https://example.com/")
    rotation = Rotation(database, both, by=TESTER)
    thread = threading.Thread(target=rotation.run, args=(lambda: None,))
    with database.connect() as connection:
        connection.exec_driver_sql(
            "UPDATE dispatcher.webhooks SET url_ciphertext = %s WHERE id = %s",
            (new.encrypt("https://example.com/new", called(webhook.id)), webhook.id),
        )
        thread.start()
        assert eventually(lambda: waits_for_a_lock(database))
        connection.commit()
    thread.join(30)
    (row,) = rows(database, "SELECT * FROM dispatcher.webhooks")
    assert new.decrypt(row.url_ciphertext, called(row.id)) == "https://example.com/new"
    assert (rotation.re_encrypted, rotation.old_keys_are_needed) == (1, False)


def test_while_something_still_encrypts_with_an_older_key_all_keys_are_kept(
    cli: Cli, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = make_webhook(database, settings, signing_keys=[], url="https://example.com/")
    beside = with_keys(settings, f"{ENCRYPTION_KEY},{NEW}")  # a process that was not restarted
    one_pass: Callable[..., int] = Rotation._pass

    def with_an_old_process_beside(self: Rotation, *arguments: Any) -> int:
        found = one_pass(self, *arguments)
        change_webhook(database, beside, webhook, "update", url="https://example.com/again")
        return found

    monkeypatch.setattr(Rotation, "_pass", with_an_old_process_beside)
    ran = cli("secrets", "rotate")
    assert (ran.status, "a process still encrypts with an older one" in ran.out) == (1, True)


def test_the_end_is_reported_and_programs_get_it_as_json(cli: Cli, database: Engine, settings: Settings) -> None:
    make_many(database, settings, 3)
    ran = cli("secrets", "rotate")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "re-encrypted 6, already under the first key 0",
        "the first key opens everything: those behind it can be removed from DISPATCHER_ENCRYPTION_KEYS",
    ]
    assert cli("secrets", "rotate", "--json").document == {
        "re_encrypted": 0,
        "already_new": 6,
        "unreadable": [],
        "misplaced": [],
        "old_keys_are_needed": False,
    }


@pytest.mark.parametrize(
    ("keys", "told"),
    [("", "is not set"), ("x", "must be Fernet keys"), (Fernet.generate_key().decode(), "cannot be opened")],
    ids=["unset", "no key", "another key"],
)
@pytest.mark.parametrize(
    "command",
    [
        ("secrets", "rotate"),
        ("webhook", "create", "--account", "acme", "--url", "https://example.com/", "--type", "*"),
        ("webhook", "show", "{webhook}", "--reveal"),
        ("webhook", "update", "{webhook}", "--url", "https://example.com/b"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_the_keys_refuses_wrong_ones_in_one_line(
    cli: Cli,
    database: Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    keys: str,
    told: str,
    command: tuple[str, ...],
) -> None:
    make_account(database)
    webhook = make_webhook(database, settings, signing_keys=[], url="https://example.com/a")
    before = stored(database)
    monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", keys)
    ran = cli(*(word.format(webhook=webhook.id) for word in command))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Error: ")
    assert (ran.err.count("\n"), told in ran.err, keys not in ran.err or len(keys) < 2) == (1, True, True)
    assert stored(database) == before
