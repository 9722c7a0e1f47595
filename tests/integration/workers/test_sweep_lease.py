"""Who sweeps: one at a time and once in an interval, whoever is there, and so that nothing else waits for it."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import psycopg2
import pytest
import redis
from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.heartbeat import Heartbeat
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from dispatcher.wake import DELIVER, NOTICES, QUEUES, REDELIVER, SWEEP, UPKEEP
from tests.behaviours import final
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change,
    deliveries,
    make_account,
    make_webhook,
    rows,
    sweep_if_due,
    sweep_once,
)
from tests.installations import worker_for
from tests.integration.workers.parked import ParkedLoop, parked_loops, until
from tests.receiver import Receiver
from workers import heartbeat as of_loop
from workers import loop as loop_module
from workers.loop import DeliveryLoop
from workers.maintenance import sweep as doing
from workers.maintenance.sweep import LEASE, UPKEEP_LEASE, Extent
from workers.notices.mailer import Mailer
from workers.tasks import add_tasks

WAITING = "UPDATE dispatcher.deliveries SET state = 'waiting', due_at = now() - interval '1 second'"
SWEEPS = "dispatcher:delayed:dispatcher.sweep:*"


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The ids of those who swept, in their order."""
    real, done = doing.sweep, []

    def noted(*arguments: object) -> object:
        done.append(arguments[3])
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(doing, "sweep", noted)
    return done


def end_lease(database: Engine, name: str = LEASE, ago: str = "1 millisecond") -> None:
    """It ended so long ago."""
    change(
        database,
        f"INSERT INTO dispatcher.leases VALUES (:name, gen_random_uuid(), now() - interval '{ago}')"
        " ON CONFLICT (name) DO UPDATE SET until = excluded.until",
        name=name,
    )


def left(database: Engine, name: str = LEASE) -> float:
    """Seconds until it ends."""
    statement = "SELECT extract(epoch FROM until - now()) AS left FROM dispatcher.leases WHERE name = :name"
    return float(rows(database, statement, name=name)[0].left)


class Beats:
    """The heartbeats of a parked loop, which it makes only when a test says so."""

    def __init__(self, loop: ParkedLoop) -> None:
        self._heartbeat = loop.loop._heartbeat
        self._real, self._wanted = self._heartbeat.beat, False
        self._heartbeat.beat = self._beat  # type: ignore[method-assign]

    def _beat(self, *, idle: bool, ending: bool) -> None:
        if self._wanted:
            self._heartbeat.due_at = 0.0
            self._real(idle=idle, ending=ending)
            self._wanted = False
        self._heartbeat.due_at = inf

    def now(self) -> None:
        """Has the loop make one, and waits for it."""
        self._wanted = True
        until(lambda: not self._wanted)

    def go_on(self) -> None:
        """From now on the loop makes them by itself."""
        self._heartbeat.beat, self._heartbeat.due_at = self._real, 0.0  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parked loops see soon what a test wants of them."""
    monkeypatch.setattr(loop_module, "SLICE", 0.02)


def test_however_many_could_sweep_one_does_in_each_interval(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, sweeps: list[object]
) -> None:
    with parked_loops(monkeypatch, settings, 3) as loops, ThreadPoolExecutor(6) as pool:
        beats = [Beats(loop) for loop in loops]
        for interval in range(1, 5):
            end_lease(database)
            asked = [pool.submit(sweep_if_due, settings, Heartbeat()) for _ in range(6)]
            for each in beats:
                each.now()
            assert [one.result() for one in asked].count({}) >= 5
            for each in beats:
                each.now()
            assert len(sweeps) == interval
            assert 3 < left(database) <= 5


def test_a_parked_loop_sweeps_when_it_is_due_and_not_before(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    sweeps: list[object],
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), enabled=False)
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "INSERT INTO dispatcher.leases VALUES ('sweep', gen_random_uuid(), now() + interval '5 seconds')")
    with parked_loops(monkeypatch, settings) as (loop,):
        beats = Beats(loop)
        change(database, "UPDATE dispatcher.webhooks SET enabled = true")
        change(database, WAITING)
        beats.now()
        assert (sweeps, deliveries(database)[0].state) == ([], "waiting")
        end_lease(database)
        beats.now()
        until(lambda: deliveries(database)[0].state == "delivered")
        assert sweeps == [loop.worker.heartbeat.id]


@pytest.fixture
def busy(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ParkedLoop, Beats]]:
    """A loop with a request in flight that hangs."""
    hold = receiver.gate()
    receiver.script("/slow", (hold, final(200)))
    make_webhook(database, settings, url=receiver.url("/slow"), event_types=["slow"])
    make_webhook(database, settings, url=receiver.url("/quick"), event_types=["quick"])
    end_lease(database, ago="-5 seconds")
    with parked_loops(monkeypatch, settings) as (loop,):
        beats = Beats(loop)
        enqueue("slow", MESSAGE, account="acme")
        receiver.wait_for(1, path="/slow")
        try:
            yield loop, beats
        finally:
            hold.open()


def test_a_busy_loop_sweeps_only_if_nobody_has_for_another_interval(
    database: Engine, busy: tuple[ParkedLoop, Beats], sweeps: list[object]
) -> None:
    loop, beats = busy
    end_lease(database, ago="4 seconds")
    beats.now()
    assert sweeps == []
    assert [row.doing for row in rows(database, "SELECT doing FROM dispatcher.processes")] == ["delivering"]
    end_lease(database, ago="6 seconds")
    beats.now()
    assert sweeps == [loop.worker.heartbeat.id]


def test_what_a_loop_leaves_of_a_sweep_it_goes_on_with_between_its_answers(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    busy: tuple[ParkedLoop, Beats],
    sweeps: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, beats = busy
    monkeypatch.setattr(of_loop, "SMALL", Extent(2, 0, 0))
    with monkeypatch.context() as nobody_claims:
        nobody_claims.setattr(loop.loop, "_may_claim", lambda: False)
        for _ in range(5):
            enqueue("quick", MESSAGE, account="acme")
        change(database, WAITING + " WHERE state = 'ready'")
    loop.loop._heartbeat._sweep_seconds = 600.0
    end_lease(database, ago="601 seconds")
    beats.go_on()
    until(lambda: [row.state for row in deliveries(database)].count("delivered") == 5)
    assert len(sweeps) == 3
    assert len(receiver.at("/quick")) == 5


def test_a_loop_that_ends_is_seen_and_sweeps_no_more(
    database: Engine, busy: tuple[ParkedLoop, Beats], sweeps: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, beats = busy
    end_lease(database, ago="6 seconds")
    monkeypatch.setattr(loop.loop, "_ending", lambda: True)
    beats.now()
    assert sweeps == []
    assert [row.doing for row in rows(database, "SELECT doing FROM dispatcher.processes")] == ["ending"]


FAULTS = {
    "the database is away": OperationalError("", None, psycopg2.OperationalError("server closed the connection")),
    "no such table": ProgrammingError("", None, Exception()),
    "a defect": KeyError(),
}


@pytest.mark.parametrize("place", ["heartbeat", "sweep"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_heartbeat_or_sweep_that_fails_ends_no_loop(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    fault: str,
) -> None:
    tried = threading.Event()

    def fail(*_: object, **__: object) -> None:
        tried.set()
        raise FAULTS[fault]

    make_webhook(database, settings, url=receiver.url("/hook"))
    end_lease(database)
    with parked_loops(monkeypatch, settings) as (loop,):
        beats = Beats(loop)
        monkeypatch.setattr(*((doing, "sweep") if place == "sweep" else (Heartbeat, "beat")), fail)
        beats.go_on()
        until(tried.is_set)
        enqueue(RECEIVED, MESSAGE, account="acme")
        until(lambda: deliveries(database)[0].state == "delivered")
        assert (left(database) > 0) == (place == "sweep")
        assert left(database) <= 5, "it is tried again when it is due"


def test_a_process_makes_no_heartbeat_for_each_of_its_short_loops(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], Heartbeat.beat

    def noted(*arguments: Any, **named: Any) -> Any:
        made.append(arguments)
        return real(*arguments, **named)

    monkeypatch.setattr(Heartbeat, "beat", noted)
    worker = worker_for(settings)
    for _ in range(3):
        DeliveryLoop(worker).run()
    assert len(made) == 1


def test_a_task_that_comes_too_early_comes_again_when_the_sweep_is_due(
    database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    end_lease(database, ago="-4 seconds")
    assert sweep_if_due(settings, Heartbeat()) == {}
    (key,) = broker.keys(SWEEPS)
    assert 3 < broker.ttl(key) - 60 <= 5
    end_lease(database, ago="-2 seconds")
    assert sweep_if_due(settings, Heartbeat()) == {"promoted": 0, "freed": 0}


@pytest.mark.parametrize(
    ("task", "doing"), [(SWEEP, "sweep"), (NOTICES, "notices"), (REDELIVER, "redeliver"), (UPKEEP, "upkeep")]
)
def test_a_maintenance_workers_child_is_seen_when_it_begins_something(
    database: Engine, settings: Settings, task: str, doing: str
) -> None:
    app, worker = Celery(set_as_current=False), worker_for(settings)
    add_tasks(app, lambda: worker)
    for _ in range(2):
        app.tasks[task]()
        seen = rows(database, "SELECT id, kind, doing FROM dispatcher.processes WHERE kind <> 'api'")
        assert [tuple(row) for row in seen] == [(worker.heartbeat.id, "maintenance", doing)]


def test_only_a_child_that_delivers_looks_rarely_for_garbage(database: Engine, settings: Settings) -> None:
    """Others make little of anything else, and would keep it for an hour."""
    app, before = Celery(set_as_current=False), gc.get_threshold()
    add_tasks(app, lambda: worker_for(settings))
    gc.set_threshold(700)
    try:
        for task in (SWEEP, NOTICES, REDELIVER, UPKEEP):
            app.tasks[task]()
        assert gc.get_threshold()[0] == 700
        app.tasks[DELIVER]()
        assert gc.get_threshold()[0] > 10_000
    finally:
        gc.set_threshold(*before)


def test_a_heartbeat_that_fails_keeps_no_task_from_its_work(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(*_: object, **__: object) -> None:
        tried.append(1)
        raise ProgrammingError("", None, Exception())

    monkeypatch.setattr(Heartbeat, "beat", fail)
    app, worker = Celery(set_as_current=False), worker_for(settings)
    add_tasks(app, lambda: worker)
    assert app.tasks[NOTICES]()["sent"] == 0
    assert tried == [1]


def test_a_run_of_mails_that_is_not_done_sends_a_wake_for_the_next(
    database: Engine, settings: Settings, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_engine: Engine, _mailer: Mailer, again: Callable[[], object]) -> dict[str, int]:
        again()
        return {}

    monkeypatch.setattr("workers.tasks.send_due_alone", stopped)
    app, worker = Celery(set_as_current=False), worker_for(settings)
    add_tasks(app, lambda: worker)
    app.tasks[NOTICES]()
    assert broker.llen(QUEUES[NOTICES]) == 1


def test_upkeep_puts_off_the_call_for_it(database: Engine, settings: Settings) -> None:
    end_lease(database, UPKEEP_LEASE)
    app, worker = Celery(set_as_current=False), worker_for(settings)
    add_tasks(app, lambda: worker)
    assert app.tasks[UPKEEP]()
    assert 290 < left(database, UPKEEP_LEASE) <= 300


def test_messages_for_upkeep_that_piled_up_make_one_run_and_the_next_minute_another(
    database: Engine, settings: Settings
) -> None:
    app, worker = Celery(set_as_current=False), worker_for(settings)
    add_tasks(app, lambda: worker)
    assert [bool(app.tasks[UPKEEP]()) for _ in range(3)] == [True, False, False]
    end_lease(database, UPKEEP_LEASE, ago="-265 seconds")
    assert app.tasks[UPKEEP]()


def test_upkeep_that_the_sweep_calls_for_runs(database: Engine, settings: Settings) -> None:
    end_lease(database, UPKEEP_LEASE)
    sweep_once(settings)
    app, worker = Celery(set_as_current=False), worker_for(settings)
    add_tasks(app, lambda: worker)
    assert app.tasks[UPKEEP]()


def test_processes_that_were_not_seen_for_an_hour_are_forgotten(database: Engine, settings: Settings) -> None:
    for name, seen in (("gone", "now() - interval '61 minutes'"), ("late", "now() - interval '59 minutes'"),
                       ("odd", "now() + interval '61 minutes'"), ("odder", "'infinity'")):  # fmt: skip
        change(
            database,
            "INSERT INTO dispatcher.processes"
            f" VALUES (gen_random_uuid(), 'deliver', :name, 1, 'v', '1', '1', now(), {seen}, '')",
            name=name,
        )
    sweep_once(settings)
    assert [row.host for row in rows(database, "SELECT host FROM dispatcher.processes")] == ["late"]


@pytest.mark.parametrize("table", ["processes", "leases"])
def test_what_has_locked_the_tables_of_processes_keeps_no_delivery(
    database: Engine, settings: Settings, broker: "redis.Redis", table: str
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    for _ in range(3):
        enqueue(RECEIVED, MESSAGE, account="acme")
    broker.flushall()
    first, second, third = (row.id for row in deliveries(database))
    change(database, f"{WAITING} WHERE id = :id", id=first)
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'claimed', claimed_by = gen_random_uuid(), attempt_count = 1,"
        " claimed_until = now() - interval '1 second' WHERE id = :id",
        id=second,
    )
    worker = worker_for(settings)
    with database.begin() as holder:
        holder.exec_driver_sql(f"LOCK dispatcher.{table} IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationalError, match="lock timeout"):
            doing.sweep(
                worker.loop_engine,
                worker.installation.waker,
                worker.installation.timing,
                worker.heartbeat.id,
                doing.WHOLE,
            )
        worker.note("notices")  # waits no longer, either
    assert [(row.id, row.state) for row in deliveries(database)] == [(each, "ready") for each in (first, second, third)]
    assert broker.llen("deliver") == 1


def waits(broker: "redis.Redis", task: str) -> int:
    """How many messages for this task wait."""
    return sum(task in message for message in broker.lrange("upkeep", 0, -1))


def test_upkeep_is_called_for_if_it_was_not_done_for_long(
    database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    end_lease(database, UPKEEP_LEASE, ago="-1 minute")
    sweep_once(settings)
    assert waits(broker, UPKEEP) == 0
    end_lease(database, UPKEEP_LEASE)
    for _ in range(2):
        sweep_once(settings)
        broker.delete(f"dispatcher:wake:{UPKEEP}")
    assert waits(broker, UPKEEP) == 1, "once in five intervals, though nobody takes it"


def test_an_open_bulk_redelivery_is_called_for(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    make_account(database)
    sweep_once(settings)
    assert waits(broker, REDELIVER) == 0
    with Session(database) as session, session.begin():
        order(session, find_account(session, "acme"), Selection(), by=TESTER)
    sweep_once(settings)
    assert waits(broker, REDELIVER) == 1
