"""What versions before these columns leave out is filled in: beside them, in small steps, and only that."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, Row, text

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.db.binding import Binding
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.settings import Settings
from tests.factories import (
    MESSAGE,
    RECEIVED,
    change,
    change_webhook,
    deliveries,
    make_webhook,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.many_rows import make_many
from workers.maintenance import older_versions, upkeep
from workers.maintenance.older_versions import PIECE, fill_deliveries

URL = "https://example.com/"
LEFT_OUT = "account_no = 0, destination = NULL, destination_of = NULL"


def filled(settings: Settings) -> tuple[int, int]:
    """How many webhooks and deliveries upkeep fills in."""
    done = upkeep_once(settings)
    return done["webhooks_filled"], done["deliveries_filled"]


def webhooks(database: Engine) -> list[Row[Any]]:
    columns = "id, account_no, destination, destination_of, url_digest, version"
    return rows(database, f"SELECT {columns} FROM dispatcher.webhooks ORDER BY id")


def store(database: Engine, settings: Settings, count: int = 1) -> int:
    """So many deliveries that an older version stored, for one webhook; returns its account's number."""
    make_webhook(database, settings, url=URL, account="another")
    webhook = make_webhook(database, settings, url=URL)
    list(enqueue_many(Event(type=RECEIVED, data=MESSAGE, account="acme") for _ in range(count)))
    change(database, "UPDATE dispatcher.deliveries SET account_no = 0, size = 0")
    return webhook.account_no


def test_a_webhook_of_today_needs_nothing(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    moved, deleted = (make_webhook(database, settings, url=URL) for _ in range(2))
    change_webhook(database, settings, moved, "update", url="https://example.org/")
    change_webhook(database, settings, deleted, "delete")
    assert filled(settings) == (0, 0)
    (account,) = rows(database, "SELECT number FROM dispatcher.accounts")
    one, two, gone = webhooks(database)
    assert {one.account_no, two.account_no, gone.account_no} == {account.number}
    assert None is not one.destination != two.destination is not None
    assert (gone.destination, gone.destination_of) == (None, None)


def test_a_webhook_of_an_older_version_gets_what_one_of_today_has(database: Engine, settings: Settings) -> None:
    for account in ("acme", "another"):
        make_webhook(database, settings, url=URL, account=account)
    before = webhooks(database)
    change(database, f"UPDATE dispatcher.webhooks SET {LEFT_OUT}")
    assert filled(settings) == (2, 0)
    assert webhooks(database) == before
    assert filled(settings) == (0, 0)


def test_a_url_that_an_older_version_changed_gets_its_destination(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL)
    change_webhook(database, settings, webhook, "update", url="https://example.org/")
    (right,) = webhooks(database)
    stale = {"destination": webhook.destination, "of": webhook.destination_of}
    change(database, "UPDATE dispatcher.webhooks SET destination = :destination, destination_of = :of", **stale)
    assert filled(settings) == (1, 0)
    assert webhooks(database) == [right]


def test_a_webhook_that_an_older_version_deleted_is_found_once(database: Engine, settings: Settings) -> None:
    for destination_too in ("", ", destination = NULL, destination_of = NULL, account_no = 0"):
        webhook = make_webhook(database, settings, url=URL)
        wiped = "deleted_at = now(), url_ciphertext = NULL, url_digest = NULL" + destination_too
        change(database, f"UPDATE dispatcher.webhooks SET {wiped} WHERE id = :id", id=webhook.id)
    assert filled(settings) == (2, 0)
    assert {(row.destination, row.destination_of) for row in webhooks(database)} == {(None, None)}
    assert filled(settings) == (0, 0)


def test_a_url_that_no_key_decrypts_is_reported_and_does_not_stop_the_others(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(older_versions, "PIECE", 1)
    first, _ = (make_webhook(database, settings, url=URL) for _ in range(2))
    place = Place("webhooks", "url_ciphertext", first.id)
    foreign = EncryptionKeys(Fernet.generate_key().decode(), Binding.DONE).encrypt(URL, place)
    change(database, f"UPDATE dispatcher.webhooks SET {LEFT_OUT}")
    change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = :it WHERE id = :id", it=foreign, id=first.id)
    assert filled(settings) == (1, 0)
    assert [row.account_no > 0 for row in webhooks(database)] == [False, True]
    assert "the URLs of webhooks cannot be opened webhooks=1\n" in capsys.readouterr().out


def test_a_url_that_changes_while_it_is_read_is_left_to_the_next_round(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = make_webhook(database, settings, url=URL)
    change(database, f"UPDATE dispatcher.webhooks SET {LEFT_OUT}")
    make = older_versions.destination

    def changed_meanwhile(secret: bytes, url: str) -> int:
        change_webhook(database, settings, webhook, "update", url="https://example.org/")
        return make(secret, url)

    monkeypatch.setattr(older_versions, "destination", changed_meanwhile)
    assert filled(settings) == (0, 0)
    monkeypatch.undo()
    assert filled(settings) == (1, 0)  # its account's number was left
    (row,) = webhooks(database)
    assert row.destination_of == row.url_digest


def test_ready_deliveries_get_their_accounts_number_and_keep_their_size(database: Engine, settings: Settings) -> None:
    number = store(database, settings, 2)
    assert filled(settings) == (0, 2)
    assert [(row.account_no, row.size) for row in deliveries(database)] == [(number, 0)] * 2
    assert filled(settings) == (0, 0)


@pytest.mark.parametrize("webhook_filled", [True, False])
def test_one_that_waits_gets_it_when_it_is_promoted(database: Engine, settings: Settings, webhook_filled: bool) -> None:
    number = store(database, settings, 2)
    waiting = "state = 'waiting', schedule_step = 1"
    change(database, f"UPDATE dispatcher.deliveries SET {waiting}, due_at = now() + interval '1 minute'")
    new = deliveries(database)[1].id
    change(database, "UPDATE dispatcher.deliveries SET account_no = 99 WHERE id = :id", id=new)
    assert filled(settings) == (0, 0)
    change(database, "UPDATE dispatcher.deliveries SET due_at = now()")
    if not webhook_filled:
        change(database, f"UPDATE dispatcher.webhooks SET {LEFT_OUT}")
    assert sweep_once(settings)["promoted"] == 2
    assert [(row.state, row.account_no) for row in deliveries(database)] == [("ready", number), ("ready", 99)]


def test_a_retry_of_a_webhook_without_a_row_is_promoted_still(database: Engine, settings: Settings) -> None:
    store(database, settings)
    change(database, "UPDATE dispatcher.deliveries SET state = 'waiting', due_at = now(), webhook_id = id")
    assert sweep_once(settings)["promoted"] == 1
    assert filled(settings) == (0, 0)


def test_one_round_fills_more_than_a_piece(database: Engine, settings: Settings) -> None:
    number = store(database, settings, PIECE + 1)
    assert filled(settings) == (0, PIECE + 1)
    assert {row.account_no for row in deliveries(database)} == {number}


def test_a_round_ends_when_its_time_is_over(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(database, settings, PIECE + 1)
    change(database, f"UPDATE dispatcher.webhooks SET {LEFT_OUT}")
    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "FILL_SECONDS", 0)
        assert filled(settings) == (0, 0)
    times = iter([0.0, 2.0])
    with monkeypatch.context() as patched:
        patched.setattr(older_versions, "monotonic", lambda: next(times))
        assert fill_deliveries(database, until=1.0) == PIECE
    assert filled(settings) == (2, 1)


def test_what_somebody_else_holds_at_this_moment_is_not_waited_for(database: Engine, settings: Settings) -> None:
    store(database, settings, 3)
    change(database, f"UPDATE dispatcher.webhooks SET {LEFT_OUT}")
    held, webhook = deliveries(database)[1].id, webhooks(database)[0].id
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as connection:
            connection.execute(text("SELECT 1 FROM dispatcher.deliveries WHERE id = :id FOR UPDATE"), {"id": held})
            connection.execute(text("SELECT 1 FROM dispatcher.webhooks WHERE id = :id FOR UPDATE"), {"id": webhook})
            assert pool.submit(filled, settings).result(20) == (1, 2)
        assert filled(settings) == (1, 1)


def test_closed_rows_of_older_versions_are_not_read_even_if_the_statistics_say_that_they_are_ready(
    database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url=URL)
    make_many(database, webhook.id)
    with database.begin() as connection:
        connection.execute(text("UPDATE dispatcher.deliveries SET state = 'ready', reason = NULL"))
        connection.execute(text("ANALYZE dispatcher.deliveries"))
        connection.execute(text("UPDATE dispatcher.deliveries SET state = 'delivered'"))
        # Before the commit, so that the server does not analyse the table by itself.
        plan = "\n".join(connection.scalars(text(f"EXPLAIN {older_versions._FILL_DELIVERIES.text}")))
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert "Index Scan using deliveries_fair_idx" in plan
    assert "Seq Scan on deliveries" not in plan
    assert fill_deliveries(database, monotonic() + 5) == 0
