"""What the sweep takes and what it leaves: by time, by number, and beside others who hold the same rows."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.db.heartbeat import Heartbeat
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.wake import DELIVER, Waker
from tests.factories import MESSAGE, RECEIVED, change, deliveries, make_webhook, rows, sweep_if_due, sweep_once
from tests.installations import installation_for
from tests.integration.workers.notices.scenario import fail, pass_time, webhook_with_contact
from tests.many_rows import EntriesRead, make_many_open
from workers.claims.claims import Claimer
from workers.claims.concurrency import Rooms
from workers.maintenance import sweep as doing
from workers.maintenance.sweep import WHOLE, Extent, promote, sweep

URL = "http://127.0.0.1:9/"
WAITING = "state = 'waiting', schedule_step = 1, due_at = now() - interval '1 second'"
EXPIRED = (
    "state = 'claimed', attempt_count = 1, claimed_by = gen_random_uuid(), claimed_until = now() - interval '1 second'"
)


def store(database: Engine, settings: Settings, count: int, columns: str) -> None:
    """So many deliveries of one webhook, with these columns."""
    make_webhook(database, settings, url=URL)
    list(enqueue_many(Event(type=RECEIVED, data=MESSAGE, account="acme") for _ in range(count)))
    change(database, f"UPDATE dispatcher.deliveries SET {columns}")


def test_a_retry_is_promoted_when_its_time_has_come_and_not_before(database: Engine, settings: Settings) -> None:
    store(database, settings, 2, WAITING)
    later = deliveries(database)[1].id
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() + interval '1 minute' WHERE id = :id", id=later)
    assert sweep_once(settings) == {"promoted": 1, "freed": 0}
    assert [row.id for row in deliveries(database) if row.state == "waiting"] == [later]


def test_a_claim_is_freed_when_it_has_expired_and_not_before(database: Engine, settings: Settings) -> None:
    store(database, settings, 2, EXPIRED)
    lasting = deliveries(database)[1].id
    change(
        database,
        "UPDATE dispatcher.deliveries SET claimed_until = now() + interval '1 minute' WHERE id = :id",
        id=lasting,
    )
    assert sweep_once(settings) == {"promoted": 0, "freed": 1}
    assert [row.id for row in deliveries(database) if row.state == "claimed"] == [lasting]


@pytest.mark.parametrize(("columns", "done"), [(WAITING, "promoted"), (EXPIRED, "freed")])
def test_one_sweep_takes_more_than_a_piece(database: Engine, settings: Settings, columns: str, done: str) -> None:
    store(database, settings, WHOLE.piece + 1, columns)
    assert sweep_once(settings)[done] == WHOLE.piece + 1
    assert {row.state for row in deliveries(database)} == {"ready"}


def test_what_is_promoted_does_not_wait_for_the_thousands_after_it(database: Engine, settings: Settings) -> None:
    store(database, settings, WHOLE.piece + 1, WAITING)
    left: list[int] = []

    class Noting(Waker):
        def wake(self, task: str = DELIVER) -> None:
            left.append(sum(row.state == "waiting" for row in deliveries(database)))

    installation = installation_for(settings)
    sweep(installation.engine, Noting.__new__(Noting), installation.timing, new_id(), WHOLE)
    assert left[0] == 1


def test_thousands_of_an_accounts_retries_keep_no_other_account_waiting(database: Engine, settings: Settings) -> None:
    many = make_webhook(database, settings, url=URL)
    others = [make_webhook(database, settings, url=URL, account=name) for name in ("globex", "initech")]
    make_many_open(database, many.id, 3 * WHOLE.piece, state="waiting")
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() - interval '1 minute'")
    for other in others:
        make_many_open(database, other.id, 2, state="waiting")
    promoted: list[Counter[UUID]] = []

    class Noting(Waker):
        def wake(self, task: str = DELIVER) -> None:
            promoted.append(Counter(row.webhook_id for row in deliveries(database) if row.state == "ready"))

    installation = installation_for(settings)
    sweep(installation.engine, Noting.__new__(Noting), installation.timing, new_id(), WHOLE)
    share = WHOLE.piece // 3
    assert promoted[0] == {many.id: share, others[0].id: 2, others[1].id: 2}
    assert [each[many.id] for each in promoted[1:4]] == [share + WHOLE.piece, share + 2 * WHOLE.piece, 3 * WHOLE.piece]


def test_what_others_hold_of_very_many_accounts_is_not_asked_for_again_at_once(
    database: Engine, settings: Settings
) -> None:
    for number in range(3):
        made = make_webhook(database, settings, url=URL, account=f"account-{number}")
        make_many_open(database, made.id, 1, state="waiting")
    with database.begin() as other, database.begin() as connection:
        other.exec_driver_sql("SELECT 1 FROM dispatcher.deliveries FOR UPDATE")
        assert promote(connection, 2) == (0, False)


def test_statistics_of_a_time_when_nothing_waited_have_no_more_of_it_read(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL)
    make_many_open(database, webhook.id, 300, state="delivered")
    change(
        database,
        "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, state, due_at, give_up_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), webhook_id, 1 + row_number() OVER () % 20, 'waiting', now(),"
        " give_up_at FROM dispatcher.deliveries",
    )
    with Session(database) as session:
        reading = EntriesRead(session, "deliveries")
        assert promote(session.connection(), 1_000) == (300, False)
        assert reading.more() < 2_000


def test_more_accounts_than_a_piece_has_rows_take_turns(database: Engine, settings: Settings) -> None:
    made = [make_webhook(database, settings, url=URL, account=f"account-{number}") for number in range(3)]
    for webhook in made:
        make_many_open(database, webhook.id, 2, state="waiting")
    with database.begin() as connection:
        promoted, is_more = promote(connection, 2)
    assert (promoted, type(promoted), is_more) == (2, int, True)
    assert Counter(row.state for row in deliveries(database)) == {"ready": 2, "waiting": 4}
    assert len({row.webhook_id for row in deliveries(database) if row.state == "ready"}) == 2


@pytest.mark.parametrize(("columns", "done"), [(WAITING, "promoted"), (EXPIRED, "freed")])
def test_a_run_ends_when_its_time_is_over_and_calls_for_the_next_one(
    database: Engine,
    settings: Settings,
    broker: "redis.Redis",
    columns: str,
    done: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store(database, settings, 5, columns)
    fail(database, webhook_with_contact(database, settings, account="other"))
    monkeypatch.setattr(doing, "WHOLE", Extent(2, 0, 0))
    heartbeat = Heartbeat()
    assert sweep_if_due(settings, heartbeat) == {}, "it makes the lease"
    for expected in (2, 2, 1):
        broker.flushall()
        assert sweep_if_due(settings, heartbeat)[done] == expected
        assert bool(broker.keys("dispatcher:delayed:dispatcher.sweep:*")) == (expected == 2), "the next run is called"
        assert (broker.llen("deliver"), broker.llen("mail")) == (1, 1), "others are woken in each run"


@pytest.mark.parametrize(("columns", "done"), [(WAITING, "promoted"), (EXPIRED, "freed")])
def test_what_somebody_else_holds_at_this_moment_is_not_waited_for(
    database: Engine, settings: Settings, columns: str, done: str
) -> None:
    store(database, settings, 3, columns)
    held = deliveries(database)[1].id
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as connection:
            connection.execute(text("SELECT 1 FROM dispatcher.deliveries WHERE id = :id FOR UPDATE"), {"id": held})
            assert pool.submit(sweep_once, settings).result(20)[done] == 2
        assert sweep_once(settings)[done] == 1


@pytest.mark.parametrize(("schedule", "delay"), [("default", 90), ("doubling", 5)])
def test_a_claim_that_expired_for_the_third_time_waits_by_its_webhooks_schedule_in_scaled_time(
    database: Engine, settings: Settings, schedule: str, delay: float
) -> None:
    make_webhook(database, settings, url=URL, contract={"schedule": schedule})
    enqueue(RECEIVED, MESSAGE, account="acme")
    with database.begin() as connection:
        assert Claimer().claim(connection, Rooms(), 1).claims
    change(database, "UPDATE dispatcher.deliveries SET claimed_until = now(), unknown_in_a_row = 2")
    assert sweep_once(settings.model_copy(update={"time_scale": 0.5}))["freed"] == 1
    (row,) = rows(
        database,
        "SELECT d.state, d.due_at - a.created_at AS wait FROM dispatcher.deliveries d"
        " JOIN dispatcher.attempts a ON a.delivery_id = d.id",
    )
    assert (row.state, row.wait) == ("waiting", timedelta(seconds=delay / 2))


def test_mails_are_woken_for_when_one_is_due(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    fail(database, webhook_with_contact(database, settings))
    change(database, "UPDATE dispatcher.notices SET due_at = now() + interval '1 minute'")
    sweep_once(settings)
    assert broker.llen("mail") == 0
    pass_time(database, "1 minute")
    sweep_once(settings)
    assert broker.llen("mail") == 1
