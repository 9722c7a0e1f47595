"""What is lost and what is not when workers, broker or database fail in the middle."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import redis
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.settings import Settings
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Exchange, Failure, FailureKind
from dispatcher.wake import Waker
from dispatcher.webhooks.contract import Verdict
from schedules.timing import REAL_TIME
from tests.behaviours import Answer, final
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    attempts,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_due,
    make_webhook,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.installations import worker_for
from tests.integration.workers.looping import seconds_until
from tests.receiver import Receiver
from workers import loop as deliver
from workers.claims.claims import Claimed, Claimer
from workers.claims.concurrency import ConcurrencyClass, Room, Rooms
from workers.results.decide import Delivered, Retry
from workers.results.record import Result, record

WAKE = "dispatcher:wake:dispatcher.deliver"
ROOT = Path(__file__).parents[3]


def claim_and_die(database: Engine) -> None:
    """What a worker leaves behind that is killed between its claim and its record, once the claim has expired."""
    with database.begin() as connection:
        assert Claimer().claim(connection, Rooms(), 100).claims
    change(database, "UPDATE dispatcher.deliveries SET claimed_until = now() WHERE state = 'claimed'")


def wait_until(condition: Callable[[], object]) -> None:
    """Waits for what another thread brings about."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen in 20 s"
        time.sleep(0.01)


def test_a_claimed_delivery_cannot_be_claimed_twice(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    with database.begin() as one, database.begin() as other:
        assert len(Claimer().claim(one, Rooms(), 10).claims) == 1
        assert Claimer().claim(other, Rooms(), 10).claims == []
    with database.begin() as connection:
        assert Claimer().claim(connection, Rooms(), 10).claims == []


@pytest.mark.parametrize("step", [0, 1])
def test_a_delivery_is_not_claimed_before_it_is_due(database: Engine, settings: Settings, step: int) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(
        database,
        "UPDATE dispatcher.deliveries SET schedule_step = :step, due_at = now() + interval '1 minute'",
        step=step,
    )
    with database.begin() as connection:
        assert Claimer().claim(connection, Rooms(), 10).claims == []


def test_a_webhook_whose_rate_another_claim_counts_at_this_moment_is_passed_over(
    database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"rate_limit": 10})
    other = make_webhook(database, settings, url="http://127.0.0.1:9/")
    change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
    enqueue(RECEIVED, MESSAGE, account="acme")

    def claim() -> list[str]:
        with database.begin() as connection:
            return [claim.webhook_id for claim in Claimer().claim(connection, Rooms(), 10).claims]

    with ThreadPoolExecutor(1) as pool, database.begin() as connection:
        connection.execute(text("SELECT 1 FROM dispatcher.rates FOR UPDATE"))
        assert pool.submit(claim).result(20) == [str(other.id)]


def test_a_claim_takes_from_each_webhook_what_its_window_allows(database: Engine, settings: Settings) -> None:
    webhooks = [make_webhook(database, settings, url="http://127.0.0.1:9/") for _ in range(10)]
    for _ in range(20):
        enqueue(RECEIVED, MESSAGE, account="acme")
    claimer = Claimer()
    with database.begin() as connection:
        rooms = Rooms(
            [
                Room(str(webhooks[0].id), 0, ConcurrencyClass.PROVEN),
                Room(str(webhooks[1].id), 9, ConcurrencyClass.PROVEN),
            ]
        )
        claimed = claimer.claim(connection, rooms, 1_000)
    taken = {str(webhook.id): 0 for webhook in webhooks}
    for claim in claimed.claims:
        taken[claim.webhook_id] += 1
    assert list(taken.values()) == [0, 9, 4, 4, 4, 4, 4, 4, 4, 4]
    assert (claimed.round_done, claimed.full) == (True, False)


def test_claims_rotate_so_that_every_due_webhook_is_served_equally(database: Engine, settings: Settings) -> None:
    webhooks = [make_webhook(database, settings, url="http://127.0.0.1:9/") for _ in range(25)]
    for _ in range(20):
        enqueue(RECEIVED, MESSAGE, account="acme")
    claimer = Claimer()
    served = {str(webhook.id): 0 for webhook in webhooks}
    for _ in range(25):
        with database.begin() as connection:
            for claim in claimer.claim(connection, Rooms(), 8).claims:
                served[claim.webhook_id] += 1
    assert set(served.values()) == {8}


def test_an_expired_claim_is_recorded_as_unknown_and_made_again(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    claim_and_die(database)
    assert deliver_all(settings)["claimed"] == 0
    assert sweep_once(settings)["freed"] == 1
    assert deliver_all(settings)["delivered"] == 1
    assert [(row.number, row.outcome_unknown, row.status) for row in attempts(database)] == [
        (1, True, None),
        (2, False, 200),
    ]
    assert [(row.state, row.schedule_step, row.unknown_in_a_row) for row in deliveries(database)] == [
        ("delivered", 0, 0)
    ]


def test_every_third_expired_claim_in_a_row_uses_a_step_of_the_schedule(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    seen = []
    for _ in range(3):
        claim_and_die(database)
        sweep_once(settings)
        seen += [(row.state, row.schedule_step, row.unknown_in_a_row) for row in deliveries(database)]
    assert seen == [("ready", 0, 1), ("ready", 0, 2), ("waiting", 1, 0)]


def test_a_result_whose_claim_was_lost_changes_nothing(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(500)), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    slow = threading.Thread(target=deliver_all, args=(settings,))
    slow.start()
    receiver.wait_for(1)
    change(database, "UPDATE dispatcher.deliveries SET claimed_until = now()")
    sweep_once(settings)
    deliver_all(settings)
    gate.open()
    slow.join(30)
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 2)]
    assert [(row.number, row.outcome_unknown, row.status) for row in attempts(database)] == [
        (1, True, None),
        (2, False, 200),
    ]


def test_with_the_broker_emptied_the_sweep_finds_and_wakes(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    broker.flushall()
    sweep_once(settings)
    assert broker.llen("deliver") == 1
    sweep_once(settings)
    assert broker.llen("deliver") == 1


def test_a_sweep_with_nothing_due_wakes_nobody(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=receiver.url("/status/500"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    broker.flushall()
    assert sweep_once(settings) == {"promoted": 0, "freed": 0}
    assert broker.llen("deliver") == 0
    make_due(database)
    assert sweep_once(settings) == {"promoted": 1, "freed": 0}
    assert broker.llen("deliver") == 1


def test_many_retries_set_one_delayed_wake_per_bucket(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=receiver.url("/status/500"))
    for _ in range(30):
        enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    assert len(deliveries(database)) == 30
    assert 1 <= broker.llen("upkeep") <= 3
    assert len(list(broker.scan_iter("dispatcher:delayed:*"))) == broker.llen("upkeep")


def test_a_loop_survives_a_database_that_goes_away_and_loses_no_result(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "DATABASE_PAUSE", 0.05)
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    tally: list[dict[str, int]] = []
    loop = threading.Thread(target=lambda: tally.append(deliver_all(settings)))
    loop.start()
    receiver.wait_for(1)
    own = settings.database_url.get_secret_value().replace("+psycopg2", "")
    administrator = psycopg2.connect(own.rpartition("/")[0] + "/postgres")
    administrator.autocommit = True
    with administrator.cursor() as cursor:
        # Nobody gets in, and whoever is in is thrown out: what a restart looks like from a client.
        cursor.execute("ALTER DATABASE dispatcher ALLOW_CONNECTIONS false")
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = 'dispatcher' AND pid <> pg_backend_pid()"
            )
            gate.open()
            loop.join(1)
            assert loop.is_alive()
        finally:
            cursor.execute("ALTER DATABASE dispatcher ALLOW_CONNECTIONS true")
    administrator.close()
    loop.join(30)
    assert tally == [{"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}]
    assert len(receiver.received) == 1
    assert [row.state for row in deliveries(database)] == ["delivered"]


def test_a_database_that_is_read_only_for_a_moment_costs_a_pause_and_no_result(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "DATABASE_PAUSE", 0.05)
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    tally: list[dict[str, int]] = []
    loop = threading.Thread(target=lambda: tally.append(deliver_all(settings)))
    loop.start()
    receiver.wait_for(1)
    own = settings.database_url.get_secret_value().replace("+psycopg2", "")
    administrator = psycopg2.connect(own.rpartition("/")[0] + "/postgres")
    administrator.autocommit = True
    others_out = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = 'dispatcher' AND pid <> pg_backend_pid()"
    )
    with administrator.cursor() as cursor:
        # What a fail-over to a replica that is not promoted yet looks like from a client.
        cursor.execute("ALTER DATABASE dispatcher SET default_transaction_read_only = on")
        try:
            cursor.execute("SELECT clock_timestamp()")
            (altered,) = cursor.fetchone() or ()

            def has_only_new_ones() -> bool:
                """One of the loop's, and none from before, which has no database as long as it begins."""
                cursor.execute(f"{others_out} AND backend_start < %s", (altered,))
                cursor.execute(
                    "SELECT bool_or(datname = 'dispatcher') AND bool_and(backend_start > %s) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                    " AND coalesce(datname, 'dispatcher') = 'dispatcher'",
                    (altered,),
                )
                return cursor.fetchone() == (True,)

            seconds_until(has_only_new_ones)
            time.sleep(0.3)  # what had just begun is not listed for a moment
            seconds_until(has_only_new_ones)
            gate.open()
            loop.join(1)
            assert loop.is_alive()
        finally:
            cursor.execute("ALTER DATABASE dispatcher RESET default_transaction_read_only")
            cursor.execute(others_out)
    administrator.close()
    loop.join(30)
    assert tally == [{"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}]
    assert len(receiver.received) == 1
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 1)]


def test_a_loop_that_only_a_rate_keeps_waiting_looks_now_and_then(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []
    may_claim = deliver.DeliveryLoop._may_claim

    def counted(loop: deliver.DeliveryLoop) -> bool:
        turns.append(loop)
        return may_claim(loop)

    monkeypatch.setattr(deliver.DeliveryLoop, "_may_claim", counted)
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"rate_limit": 2})
    change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
    for _ in range(3):
        enqueue(RECEIVED, MESSAGE, account="acme")
    began = time.monotonic()
    assert deliver_all(settings)["delivered"] == 3
    assert time.monotonic() - began > 0.9  # there was something to wait for
    assert len(turns) < 400  # it spins tens of thousands of times where nothing has it sleep


def test_a_loop_that_a_rate_keeps_waiting_after_its_last_look_sleeps_and_stops_when_asked(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"rate_limit": 0.1})
    change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
    enqueue(RECEIVED, MESSAGE, account="acme")
    asleep, claim, wait = Waker.asleep, Claimer.claim, CurlTransport.wait
    steps: list[str] = []
    late = threading.Event()

    def looks() -> list[int]:
        return [len(list(alike)) for step, alike in groupby(list(steps)) if step == "look"]

    def asleep_too_early(waker: Waker, *arguments: Any) -> bool:
        if not late.is_set():
            late.set()  # committed just before the look that follows
            enqueue(RECEIVED, MESSAGE, account="acme")
        return asleep(waker, *arguments)

    def counted(claimer: Claimer, *arguments: Any, **options: Any) -> Claimed:
        steps.append("look")
        return claim(claimer, *arguments, **options)

    def waited(transport: CurlTransport, timeout: float) -> list[Exchange]:
        steps.append("sleep")
        return wait(transport, timeout)

    monkeypatch.setattr(Waker, "asleep", asleep_too_early)
    monkeypatch.setattr(Claimer, "claim", counted)
    monkeypatch.setattr(CurlTransport, "wait", waited)
    stop = threading.Event()
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    assert late.wait(20)
    wait_until(lambda: len(looks()) > 3)
    assert loop.is_alive()
    stop.set()
    loop.join(5)  # the second event's turn comes after 10
    assert not loop.is_alive()
    assert max(looks()) <= 2  # in its turn, and once more before it would end
    assert len(receiver.received) == 1


def test_a_stopping_loop_finishes_what_is_in_flight_and_claims_no_more(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(20):
        enqueue(RECEIVED, MESSAGE, account="acme")
    stop = threading.Event()
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    receiver.wait_for(4)
    stop.set()
    gate.open()
    loop.join(30)
    assert not loop.is_alive()
    states = [row.state for row in deliveries(database)]
    assert (states.count("delivered"), states.count("ready")) == (4, 16)


def test_a_loop_that_saw_late_that_it_must_stop_has_no_more_time_of_grace(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    stop = threading.Event()
    asked_at = time.monotonic() - settings.grace_seconds
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    monkeypatch.setattr(deliver, "asked_at", lambda: asked_at)
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    receiver.wait_for(1)
    stop.set()
    loop.join(15)  # its request hangs longer
    assert not loop.is_alive()
    gate.open()
    assert [row.state for row in deliveries(database)] == ["claimed"]


def test_what_is_claimed_and_not_sent_when_the_worker_stops_is_released_at_once(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(8):
        make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    began = []
    start = deliver.DeliveryLoop._start

    def start_and_stop(loop: deliver.DeliveryLoop, batch: deliver.Batch) -> None:
        start(loop, batch)
        began.append(batch)
        if len(began) == 3:
            monkeypatch.setattr(deliver, "is_stopping", lambda: True)

    monkeypatch.setattr(deliver.DeliveryLoop, "_start", start_and_stop)
    assert deliver_all(settings)["delivered"] == 3
    assert sorted((row.state, row.attempt_count) for row in deliveries(database)) == (
        [("delivered", 1)] * 3 + [("ready", 0)] * 5
    )


def test_a_request_that_our_own_look_ups_held_back_is_no_attempt(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    context = worker_for(settings)
    wait, held = context.transport.wait, []

    def hold_first(timeout: float) -> list[Exchange]:
        ended = wait(timeout)
        if ended and not held:
            held.extend(ended)
            return [one._replace(outcome=Failure(FailureKind.NOT_SENT, "a test")) for one in ended]
        return ended

    monkeypatch.setattr(context.transport, "wait", hold_first)
    assert deliver.DeliveryLoop(context).run()["delivered"] == 1
    context.drop_transport()
    assert len(held) == 1
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 1)]
    assert [row.verdict for row in attempts(database)] == ["acknowledged"]
    assert rows(database, "SELECT * FROM dispatcher.circuit_breakers") == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_see_the_stop_byte_and_find_the_journal_of_their_predecessor(method: str, tmp_path: Path) -> None:
    """Forked as on Linux, or started anew as on macOS."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import select

from math import inf
from time import monotonic
from billiard import get_context, set_start_method
from tests.claims import CLAIM
from workers import shared_memory, stopping
from workers.journal import Journal

CLAIM = CLAIM._replace(event_id="{uuid4()}", delivery_id="{uuid4()}")  # the same in each process

def die_at_work():
    journal = Journal(shared_memory.journal_of(3))
    journal.begin(CLAIM.event_id)
    journal.handle([CLAIM])
    journal.sent([CLAIM])

def recover():
    left = Journal(shared_memory.journal_of(3)).left()
    assert left == (CLAIM.event_id, False, {{(CLAIM.delivery_id, 1)}}, {{(CLAIM.delivery_id, 1)}}, False), left
    assert Journal(shared_memory.journal_of(2)).left() is None
    pipe = shared_memory.pipe()
    for _ in range(2):  # nobody reads it, so all see it
        assert select.select([pipe], [], [], 20)[0] == [pipe]
    assert stopping.is_stopping()
    assert 0 < monotonic() - stopping.asked_at() < 60
    assert not stopping.stop_descriptors(), "it stays readable: watching it would be turning in a circle"

if __name__ == "__main__":
    set_start_method("{method}", force=True)
    shared_memory.share()
    context = get_context("{method}")
    for work in die_at_work, recover:
        child = context.Process(target=work)
        child.start()
        if work is recover:
            assert not stopping.is_stopping()
            assert stopping.asked_at() == inf
            stopping.ask_to_stop()
            asked_at = stopping.asked_at()
            stopping.ask_to_stop()
            assert stopping.asked_at() == asked_at
        child.join()
        assert child.exitcode == 0
    shared_memory.forget()
    shared_memory.forget()
    assert shared_memory.open_stacks(0) is None
""")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, script], check=False, timeout=60, env=environment).returncode == 0


def test_a_loop_past_its_age_hands_a_wake_over_and_ends(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.lifetime.LONGEST_LIFE", 0.0)
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    broker.flushall()
    assert deliver_all(settings)["claimed"] == 0
    assert broker.llen("deliver") == 1
    assert broker.get(WAKE) is None


def test_a_claim_that_comes_back_full_wakes_another_child(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    for _ in range(20):
        make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(10):
        enqueue(RECEIVED, MESSAGE, account="acme")
    broker.flushall()
    assert deliver_all(settings.model_copy(update={"max_in_flight": 64}))["delivered"] == 200
    assert broker.llen("deliver") == 1


def test_deliveries_of_a_deleted_webhook_end_with_that_reason(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    change_webhook(database, settings, webhook, "delete")
    assert deliver_all(settings)["claimed"] == 0
    assert upkeep_once(settings)["ended"] == 1
    assert [(row.state, row.reason) for row in deliveries(database)] == [("discarded", "webhook_deleted")]
    assert receiver.received == []


def test_what_waits_at_a_disabled_webhook_ends_when_its_time_is_over(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/", enabled=False)
    for name in ("a", "b", "c"):
        enqueue(name, MESSAGE, account="acme")
    assert upkeep_once(settings)["ended"] == 0
    change(
        database,
        "UPDATE dispatcher.deliveries d SET give_up_at = now() FROM dispatcher.events e"
        " WHERE e.id = d.event_id AND e.type <> 'c'",
    )
    change(database, "UPDATE dispatcher.events SET expires_at = now() WHERE type = 'b'")
    assert upkeep_once(settings)["ended"] == 2
    ends = rows(
        database,
        "SELECT e.type, d.state, d.reason FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id"
        " ORDER BY e.type",
    )
    assert [tuple(row) for row in ends] == [
        ("a", "discarded", "webhook_disabled"),
        ("b", "discarded", "expired"),
        ("c", "ready", None),
    ]
    assert webhook.enabled is False


def test_old_idempotency_keys_are_forgotten(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    for key in ("old", "new"):
        enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key=key)
    change(
        database,
        "UPDATE dispatcher.idempotency_keys SET expires_at = now() + :left",
        left=timedelta(minutes=1),
    )
    change(database, "UPDATE dispatcher.idempotency_keys SET expires_at = now() WHERE key = 'old'")
    assert upkeep_once(settings)["keys_forgotten"] == 1
    assert [row.key for row in rows(database, "SELECT key FROM dispatcher.idempotency_keys")] == ["new"]


def test_a_webhook_whose_secret_no_key_opens_does_not_stop_the_others(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    broken = make_webhook(database, settings, url=receiver.url("/broken"))
    make_webhook(database, settings, url=receiver.url("/hook"))
    change(database, "UPDATE dispatcher.webhooks SET url_ciphertext = 'x', version = 99 WHERE id = :id", id=broken.id)
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings)["delivered"] == 1
    ends = {row.webhook_id: (row.state, row.attempt_count) for row in deliveries(database)}
    assert ends.pop(broken.id) == ("ready", 0), "it is quarantined, and uses no step of its schedule"
    assert set(ends.values()) == {("delivered", 1)}


def test_a_loop_without_room_lets_producers_wake_another(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    small = settings.model_copy(update={"max_in_flight": 2})
    gate = receiver.gate()
    receiver.script("/hang", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hang"), event_types=["slow"])
    make_webhook(database, settings, url=receiver.url("/hook"), event_types=["quick"])
    for _ in range(2):
        enqueue("slow", MESSAGE, account="acme")
    busy = threading.Thread(target=deliver_all, args=(small,))
    busy.start()
    try:
        receiver.wait_for(2, path="/hang")
        wait_until(lambda: broker.get(WAKE) is None)
        broker.delete("deliver")
        enqueue("quick", MESSAGE, account="acme")
        assert broker.llen("deliver") == 1
        other = threading.Thread(target=deliver_all, args=(small,))
        other.start()
        receiver.wait_for(1, path="/hook")
    finally:
        gate.open()
        busy.join(30)
        other.join(30)
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_a_process_that_stood_still_since_its_claim_does_not_send(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "CLAIM", timedelta(seconds=20))  # under the 30 s of a request
    stops = iter([False] * 10)
    monkeypatch.setattr(deliver, "is_stopping", lambda: next(stops, True))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("ready", 0)]
    assert receiver.received == attempts(database) == []


def test_webhooks_that_fail_get_no_more_than_their_part_in_one_claim(database: Engine, settings: Settings) -> None:
    failing = [str(make_webhook(database, settings, url="http://127.0.0.1:9/").id) for _ in range(10)]
    healthy = [str(make_webhook(database, settings, url="http://127.0.0.1:9/").id) for _ in range(3)]
    enqueue(RECEIVED, MESSAGE, account="acme")
    known = [Room(webhook_id, 1, ConcurrencyClass.FAILING) for webhook_id in failing]
    claimer, seen = Claimer(), set()
    with database.begin() as connection:
        rooms = Rooms(known, classes={ConcurrencyClass.FAILING: 4})
        first = {claim.webhook_id for claim in claimer.claim(connection, rooms, 20).claims}
        for _ in range(2):
            rooms = Rooms(known, classes={ConcurrencyClass.FAILING: 3})
            seen |= {claim.webhook_id for claim in claimer.claim(connection, rooms, 20).claims}
    assert len(first & set(failing)) == 4
    assert set(healthy) <= first
    assert seen == set(failing) - first  # the next ones in turn, none twice


def test_hundreds_of_disabled_webhooks_with_a_backlog_do_not_keep_a_loop_busy(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    for _ in range(230):
        make_webhook(database, settings, url=receiver.url("/off"), enabled=False)
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings) == {"claimed": 0, "delivered": 0, "retried": 0, "discarded": 0}
    make_webhook(database, settings, url=receiver.url("/on"), event_types=["other"])
    enqueue("other", MESSAGE, account="acme")
    assert deliver_all(settings)["claimed"] == 1
    assert [callback.path for callback in receiver.received] == ["/on"]


def test_a_webhook_whose_contract_cannot_be_read_does_not_stop_the_others(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    broken = make_webhook(database, settings, url=receiver.url("/broken"))
    make_webhook(database, settings, url=receiver.url("/hook"))
    change(
        database,
        """UPDATE dispatcher.webhooks SET contract = '{"schedule": "gone"}', version = 99 WHERE id = :id""",
        id=broken.id,
    )
    enqueue(RECEIVED, MESSAGE, account="acme")
    claim_and_die(database)
    assert sweep_once(settings)["freed"] == 2
    assert deliver_all(settings)["delivered"] == 1
    assert [callback.path for callback in receiver.received] == ["/hook"]


def test_a_redelivery_passes_the_events_own_deadline(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme", expires_at=datetime.now(UTC) + timedelta(hours=1))
    change(database, "UPDATE dispatcher.events SET expires_at = now()")
    change(database, "UPDATE dispatcher.deliveries SET give_up_at = now() - interval '1 second'")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    assert (delivery.state, delivery.reason) == ("discarded", "expired")
    with Session(database) as session, session.begin():
        redeliver(session, find_account(session, "acme"), delivery.id, REAL_TIME, by=TESTER)
    deliver_all(settings)
    assert [row.state for row in deliveries(database)] == ["delivered"]


def test_of_two_attempts_in_one_group_only_the_one_whose_claim_lasts_is_written(
    database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    claimer = Claimer()
    with database.begin() as connection:
        (lost,) = claimer.claim(connection, Rooms(), 1).claims
    change(database, "UPDATE dispatcher.deliveries SET claimed_until = now()")
    sweep_once(settings)
    with database.begin() as connection:
        (mine,) = claimer.claim(connection, Rooms(), 1).claims
        results = [
            Result(claim.delivery_id, claim.number, 0, claimer.id, decision, Verdict.ACKNOWLEDGED)
            for claim, decision in ((lost, Retry(timedelta(seconds=90), 1)), (mine, Delivered()))
        ]
        assert record(connection, results).mine == {(mine.delivery_id, 2)}
    assert [(row.number, row.outcome_unknown) for row in attempts(database)] == [(1, True), (2, False)]
    assert [(row.state, row.schedule_step) for row in deliveries(database)] == [("delivered", 0)]
