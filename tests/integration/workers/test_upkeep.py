"""What upkeep ends and what it leaves: only what nobody can attempt any more."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from dispatcher import Event, enqueue_many
from dispatcher.db.arrays import array
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from dispatcher.webhooks.contract import FORMAT
from tests.factories import (
    MESSAGE,
    RECEIVED,
    change,
    change_webhook,
    deliveries,
    make_quarantined_notice,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.installations import installation_for
from tests.integration.workers.notices.scenario import fail, pass_time, the_notice, webhook_with_contact
from tests.many_rows import make_many, make_many_open, reading_less_than
from workers.maintenance import upkeep
from workers.maintenance.upkeep import LONGEST, LOOKED_UP, PIECE


class Ran(NamedTuple):
    """A statement that ran, and how many rows it changed or found."""

    text: str
    rows: int


@contextmanager
def statements(settings: Settings) -> Iterator[list[Ran]]:
    """The statements of the installation's own engine."""
    engine, ran = installation_for(settings).engine, []

    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        ran.append(Ran(statement, cursor.rowcount))

    event.listen(engine, "after_cursor_execute", note)
    try:
        yield ran
    finally:
        event.remove(engine, "after_cursor_execute", note)


OVER = "give_up_at = now() - interval '1 second'"


def store(database: Engine, settings: Settings, count: int, columns: str, *, enabled: bool = False) -> Webhook:
    """A webhook with so many deliveries with these columns."""
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/", enabled=enabled)
    list(enqueue_many(Event(type=RECEIVED, data=MESSAGE, account="acme") for _ in range(count)))
    change(database, f"UPDATE dispatcher.deliveries SET {columns}")
    return webhook


def test_what_waits_is_ended_when_its_time_is_over_and_not_before(database: Engine, settings: Settings) -> None:
    store(database, settings, 2, OVER)
    left = deliveries(database)[1].id
    change(
        database, "UPDATE dispatcher.deliveries SET give_up_at = now() + interval '1 minute' WHERE id = :id", id=left
    )
    assert upkeep_once(settings)["ended"] == 1
    assert [row.id for row in deliveries(database) if row.state == "ready"] == [left]


@pytest.mark.parametrize("failing", [False, True])
def test_what_can_be_attempted_is_left_to_its_attempt_however_late(
    database: Engine, settings: Settings, failing: bool
) -> None:
    webhook = store(database, settings, 1, OVER, enabled=True)
    if failing:  # its gate is open still
        change(
            database,
            "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since) VALUES (:id, 3, now())",
            id=webhook.id,
        )
    assert upkeep_once(settings)["ended"] == 0
    assert [row.state for row in deliveries(database)] == ["ready"]


def test_an_event_is_not_called_expired_before_it_is(database: Engine, settings: Settings) -> None:
    store(database, settings, 1, OVER)
    change(database, "UPDATE dispatcher.events SET expires_at = now() + interval '1 minute'")
    upkeep_once(settings)
    assert [row.reason for row in deliveries(database)] == ["webhook_disabled"]


def test_one_round_ends_and_forgets_more_than_a_piece(database: Engine, settings: Settings) -> None:
    store(database, settings, PIECE + 1, OVER)
    change(
        database,
        "INSERT INTO dispatcher.idempotency_keys (account_id, key, event_id, digest, expires_at)"
        " SELECT account_id, id::text, id, '', now() FROM dispatcher.events",
    )
    done = upkeep_once(settings)
    assert (done["ended"], done["keys_forgotten"]) == (PIECE + 1, PIECE + 1)
    assert {row.state for row in deliveries(database)} == {"discarded"}
    assert rows(database, "SELECT 1 FROM dispatcher.idempotency_keys") == []


@pytest.mark.parametrize("change_made", ["delete", "disable"])
def test_what_tens_of_thousands_wait_for_is_ended_in_small_transactions(
    database: Engine, settings: Settings, change_made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = store(database, settings, 0, OVER, enabled=True)
    make_many_open(database, webhook.id, LOOKED_UP + PIECE, give_up_in=timedelta(seconds=-1))
    change_webhook(database, settings, webhook, change_made)
    assert {row.state for row in rows(database, "SELECT DISTINCT state FROM dispatcher.deliveries")} == {"ready"}
    monkeypatch.setattr(upkeep, "END_SECONDS", 0)
    assert (upkeep_once(settings)["ended"], upkeep_once(settings)["to_end"]) == (0, LOOKED_UP)
    monkeypatch.undo()
    with statements(settings) as ran:
        done = upkeep_once(settings)
    assert (done["ended"], done["to_end"]) == (LOOKED_UP + PIECE, 0)
    assert max(one.rows for one in ran if "UPDATE" in one.text) == PIECE
    assert {row.reason for row in rows(database, "SELECT DISTINCT reason FROM dispatcher.deliveries")} == {
        "webhook_deleted" if change_made == "delete" else "webhook_disabled"
    }


def test_what_waits_for_a_retry_at_a_deleted_webhook_ends_at_once_and_at_a_disabled_one_waits_on(
    database: Engine, settings: Settings
) -> None:
    deleted, disabled, other = (make_webhook(database, settings, url="http://127.0.0.1:9/") for _ in range(3))
    make_many_open(database, deleted.id, 5_000, state="delivered")
    for webhook, count in ((other, 2_000), (deleted, 2 * PIECE + 1), (disabled, 1)):
        make_many_open(database, webhook.id, count, state="waiting")
    # Many webhooks, as where it matters: of two, each is half of all that waits.
    change(
        database,
        "UPDATE dispatcher.deliveries SET due_at = now() + interval '15 minutes',"
        " webhook_id = CASE webhook_id WHEN :other THEN gen_random_uuid() ELSE webhook_id END",
        other=other.id,
    )
    change(database, "ANALYZE dispatcher.deliveries")
    change_webhook(database, settings, deleted, "delete")
    change_webhook(database, settings, disabled, "disable")
    with Session(database) as session, reading_less_than(10 * PIECE, session, "deliveries"):
        assert len(upkeep.unclaimable(session)) == 2 * PIECE + 1
    with statements(settings) as ran:
        assert upkeep_once(settings)["ended"] == 2 * PIECE + 1
    assert max(one.rows for one in ran if "UPDATE" in one.text) == PIECE
    found = rows(
        database,
        "SELECT DISTINCT webhook_id, state, reason FROM dispatcher.deliveries JOIN dispatcher.webhooks w"
        " ON w.id = webhook_id WHERE state <> 'delivered'",
    )
    assert {tuple(row) for row in found} == {
        (deleted.id, "discarded", "webhook_deleted"),
        (disabled.id, "waiting", None),
    }


def test_of_what_waits_on_for_a_disabled_webhook_little_is_read_and_not_again_for_each_piece(
    database: Engine, settings: Settings
) -> None:
    webhook = store(database, settings, 0, OVER)
    make_many_open(database, webhook.id, 20_000)
    with Session(database) as session, reading_less_than(3 * LONGEST, session, "deliveries"):
        assert upkeep.unclaimable(session) == []
    make_many_open(database, webhook.id, 3 * PIECE, give_up_in=timedelta(seconds=-1))
    oldest = "UPDATE dispatcher.deliveries SET due_at = now() - interval '1 hour' WHERE give_up_at < now()"
    change(database, oldest)
    with statements(settings) as ran:
        assert upkeep_once(settings)["ended"] == 3 * PIECE
    assert sum("WITH RECURSIVE" in one.text for one in ran) == 1


def test_what_ends_before_many_that_wait_longer_is_ended_after_them(database: Engine, settings: Settings) -> None:
    webhook = store(database, settings, 0, OVER)
    make_many_open(database, webhook.id, LONGEST)
    make_many_open(database, webhook.id, 1, give_up_in=timedelta(seconds=-1))
    assert upkeep_once(settings)["ended"] == 0
    change(database, "UPDATE dispatcher.deliveries SET give_up_at = now()")
    assert upkeep_once(settings)["ended"] == LONGEST + 1


def test_ending_a_piece_reads_no_more_than_the_piece(database: Engine, settings: Settings) -> None:
    make_many(database, store(database, settings, 0, OVER).id)
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'ready', reason = NULL"
        " WHERE id = ANY(ARRAY(SELECT id FROM dispatcher.deliveries ORDER BY id LIMIT 5000))",
    )
    with Session(database) as session:
        ids = upkeep.unclaimable(session)
        for table, piece in (("deliveries", ids[:50]), ("events", ids[50:100])):
            with reading_less_than(1_000, session, table):
                assert session.execute(upkeep.END, {"ids": array(piece)}).rowcount == 50


def test_what_is_enabled_meanwhile_is_not_ended(database: Engine, settings: Settings) -> None:
    webhook = store(database, settings, 2, OVER)
    with database.begin() as connection:
        ids = upkeep.unclaimable(connection)
    change_webhook(database, settings, webhook, "enable")
    with database.begin() as connection:
        assert connection.execute(upkeep.END, {"ids": array(ids)}).rowcount == 0
    assert len(ids) == 2


def test_what_somebody_else_holds_at_this_moment_is_not_waited_for(database: Engine, settings: Settings) -> None:
    store(database, settings, 3, OVER)
    held = deliveries(database)[1].id
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as connection:
            connection.execute(text("SELECT 1 FROM dispatcher.deliveries WHERE id = :id FOR UPDATE"), {"id": held})
            assert pool.submit(upkeep_once, settings).result(20)["ended"] == 2
        assert upkeep_once(settings)["ended"] == 1


def test_a_mail_whose_worker_died_while_sending_is_closed(database: Engine, settings: Settings) -> None:
    fail(database, webhook_with_contact(database, settings))
    change(database, "UPDATE dispatcher.notices SET due_at = NULL, claimed_until = now() + interval '1 minute'")
    assert upkeep_once(settings)["notices_abandoned"] == 0
    pass_time(database, "61 seconds")
    assert upkeep_once(settings)["notices_abandoned"] == 1
    assert the_notice(database).claimed_until is None


def test_what_waits_behind_a_quarantine_ends_when_its_time_is_over(database: Engine, settings: Settings) -> None:
    webhook = store(database, settings, 2, "give_up_at = now() + interval '1 hour'", enabled=True)
    change(database, "UPDATE dispatcher.webhooks SET quarantined_at = now() WHERE id = :id", id=webhook.id)
    assert upkeep_once(settings)["ended"] == 0
    change(database, f"UPDATE dispatcher.deliveries SET {OVER}")
    assert upkeep_once(settings)["ended"] == 2
    assert {(row.state, row.reason) for row in deliveries(database)} == {("discarded", "exhausted")}


def test_what_is_not_read_is_counted(database: Engine, settings: Settings) -> None:
    names = ("webhooks_quarantined", "webhooks_of_newer_format", "notices_quarantined")
    for _ in range(3):
        make_webhook(database, settings, url="http://127.0.0.1:9/")
    assert [upkeep_once(settings)[name] for name in names] == [0, 0, 0]
    _, second, deleted = rows(database, "SELECT id FROM dispatcher.webhooks ORDER BY number")
    change(database, "UPDATE dispatcher.webhooks SET quarantined_at = now() WHERE id <> :id", id=second.id)
    change(database, "UPDATE dispatcher.webhooks SET deleted_at = now() WHERE id = :id", id=deleted.id)
    change(database, "UPDATE dispatcher.webhooks SET format = :newer WHERE id = :id", newer=FORMAT + 1, id=second.id)
    make_quarantined_notice(database)
    assert [upkeep_once(settings)[name] for name in names] == [1, 1, 1]


PARTS = (
    "_end_unclaimable",
    "_forget_keys",
    "_forget_sessions",
    "_forget_links",
    "remove_accounts",
    "_close_notices",
    "count_unreadable",
    "_make_partitions",
    "_fill_in",
)


def test_old_rows_for_which_there_was_no_time_go_in_what_the_other_parts_leave_of_the_minute(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else more would come in a day than can go."""
    older = "id = CAST(overlay(id::text placing '0170' from 1) AS uuid)"
    store(database, settings, 3, f"state = 'cancelled', finished_at = now() - interval '31 days', {older}")
    monkeypatch.setattr(upkeep, "RETAIN_SECONDS", -1)
    done = upkeep_once(settings)
    assert (done["deliveries_removed"], done["kinds_left"], deliveries(database)) == (3, 0, [])
    monkeypatch.setattr(upkeep, "RUN_SECONDS", -1)
    assert upkeep_once(settings)["kinds_left"] == 3


def test_what_retention_removed_in_both_parts_of_a_run_is_counted(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([{"deliveries_removed": 2, "weeks_left": 1, "kinds_left": 1},
                   {"deliveries_removed": 3, "weeks_left": 1, "kinds_left": 0}])  # fmt: skip
    monkeypatch.setattr(upkeep, "retain", lambda *_: next(counts))
    done = upkeep_once(settings)
    assert (done["deliveries_removed"], done["weeks_left"], done["kinds_left"]) == (5, 1, 0)


@pytest.mark.parametrize("failing", PARTS)
def test_a_part_that_fails_keeps_no_other_from_running(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    ran = []

    def watched(name: str) -> None:
        real = getattr(upkeep, name)

        def part(*arguments: Any, **named: Any) -> Any:
            ran.append(name)
            if name == failing:
                raise RuntimeError(name)
            return real(*arguments, **named)

        monkeypatch.setattr(upkeep, name, part)

    for name in PARTS:
        watched(name)
    with pytest.raises(RuntimeError, match=failing):
        upkeep_once(settings)
    assert sorted(ran) == sorted(PARTS)
