"""One delivery that goes wrong, wherever that is, costs itself only."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.settings import Settings
from dispatcher.wake import SUSPECTS
from tests.behaviours import HANG, Answer, final
from tests.factories import MESSAGE, RECEIVED, attempts, deliveries, lock_deliveries_of, make_webhook, rows
from tests.installations import worker_for
from tests.integration.workers.dying import DEADLINE, POISON, How, loop_in_little_memory, run, start
from tests.many_rows import copy_webhook
from tests.process_table import eventually
from tests.receiver import Receiver
from workers import shared_memory
from workers.claims.claims import Claimed, Claimer
from workers.loop import DeliveryLoop
from workers.recovery import recover

INNOCENT = 12

# Where the loop works on one delivery after the other, or on groups of them: what it calls for each.
PLACES = {
    "batches": "workers.preparing.batches",
    "render": "workers.loop.render",
    "judge": "workers.results.judge.classify",
    "decide": "workers.results.judge.decide",
    "record": "workers.results.record._request_row",
}


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process and those that it starts find the journal."""
    (tmp_path / "memory").touch()
    monkeypatch.setenv(shared_memory.VARIABLE, str(tmp_path / "memory"))


def poisoned(database: Engine, settings: Settings, receiver: Receiver, batch: int = 1) -> None:
    """Twelve events for one webhook, and a bad one in the middle; with `batch`, all can be in one request."""
    receiver.script("/hook", lambda request: Answer(body=request.body))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": batch})
    for n in range(INNOCENT + 1):
        if n == INNOCENT // 2:
            enqueue(POISON, {**MESSAGE, "body": POISON}, account="acme", expires_at=DEADLINE)
        else:
            enqueue(RECEIVED, MESSAGE, account="acme")


def open_and_due(database: Engine) -> bool:
    return any(row.state in {"ready", "claimed"} for row in deliveries(database))


def bad_and_others(database: Engine) -> tuple[list[Any], list[Any]]:
    found = rows(
        database,
        "SELECT d.id, e.type, d.state, d.reason, d.deaths, d.attempt_count, d.schedule_step"
        " FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id",
    )
    return [row for row in found if row.type == POISON], [row for row in found if row.type != POISON]


@pytest.mark.parametrize("how", [How.ERROR, How.MEMORY])
@pytest.mark.parametrize(("place", "batch"), [*((place, 1) for place in PLACES), ("batches", 100), ("render", 100)])
def test_an_error_of_ours_for_one_delivery_costs_the_others_nothing(
    database: Engine, settings: Settings, receiver: Receiver, place: str, batch: int, how: How
) -> None:
    poisoned(database, settings, receiver, batch)
    assert run(settings, PLACES[place], how, lambda: open_and_due(database)) == 0
    (bad,), others = bad_and_others(database)
    assert {(row.state, row.attempt_count, row.schedule_step) for row in others} == {("delivered", 1, 0)}
    ended = {
        ("render", How.ERROR): ("discarded", "render_failed", 0),
        ("record", How.ERROR): ("delivered", None, 0),  # without its request
        ("record", How.MEMORY): ("delivered", None, 0),
    }
    assert (bad.state, bad.reason, bad.schedule_step) == ended.get((place, how), ("waiting", None, 1))
    assert not any(row.outcome_unknown for row in attempts(database))


@pytest.mark.parametrize(
    ("place", "batch", "how"),
    [
        *((place, 1, How.SIGKILL) for place in PLACES),
        ("render", 100, How.SIGKILL),
        *((place, 1, How.EXIT) for place in ("batches", "render")),
    ],
)
def test_what_kills_its_process_ends_after_three_and_the_others_are_delivered(
    database: Engine, settings: Settings, receiver: Receiver, place: str, batch: int, how: How
) -> None:
    poisoned(database, settings, receiver, batch)
    died = run(settings, PLACES[place], how, lambda: open_and_due(database))
    (bad,), others = bad_and_others(database)
    assert {(row.state, row.schedule_step, row.deaths) for row in others} == {("delivered", 0, 0)}
    assert (bad.state, bad.reason, bad.schedule_step) == ("discarded", "render_failed", 0)
    # What was being handled is to blame. Where many are prepared or written together, it takes more to find it.
    is_named = place not in {"batches", "record"}
    assert died == (3 if is_named else 7)
    sent = Counter(row.delivery_id for row in attempts(database))
    unknown = Counter(row.delivery_id for row in attempts(database) if row.outcome_unknown)
    assert all(sent[row.id] == 1 + unknown[row.id] for row in others)
    if is_named:
        assert max(unknown[row.id] for row in others) <= 1


def test_after_a_kill_with_a_thousand_requests_in_flight_each_is_attempted_once_more(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hang", *[HANG] * 1_000, Answer())
    make_webhook(database, settings, url=receiver.url("/hang"))
    copy_webhook(database, settings, 999)
    enqueue(RECEIVED, MESSAGE, account="acme")
    process = start(settings)
    try:
        receiver.wait_for(1_000, timeout=60)
    finally:
        process.kill()
        process.join()
    worker = worker_for(settings)
    recover(worker.loop_engine, worker.journal, worker.installation.waker)
    assert {(row.state, row.attempt_count, row.deaths) for row in deliveries(database)} == {("ready", 1, 1)}
    DeliveryLoop(worker).run()
    assert {(row.state, row.attempt_count, row.deaths) for row in deliveries(database)} == {("delivered", 2, 0)}
    assert Counter(row.outcome_unknown for row in attempts(database)) == {True: 1_000, False: 1_000}


def test_what_is_in_flight_when_a_loop_makes_no_progress_is_not_suspected(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hang", HANG, Answer())
    make_webhook(database, settings, url=receiver.url("/hang"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    process = start(settings)
    try:
        receiver.wait_for(1)
    finally:
        process.kill()
        process.join()
    worker = worker_for(settings)
    worker.journal.was_stuck()
    recover(worker.loop_engine, worker.journal, worker.installation.waker)
    assert [(row.state, row.attempt_count, row.deaths) for row in deliveries(database)] == [("ready", 1, 0)]


def test_what_was_sent_and_waits_for_a_locked_row_is_known_after_a_kill(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    gate = receiver.gate()
    for name in ("locked", "free"):
        receiver.script(f"/{name}", (gate, final(200)))
        make_webhook(database, settings, url=receiver.url(f"/{name}"), event_types=[name])
        enqueue(name, MESSAGE, account="acme")
    process = start(settings)
    try:
        receiver.wait_for(2)
        with database.begin() as connection:
            lock_deliveries_of(connection, "locked")
            gate.open()
            assert eventually(lambda: {row.state for row in deliveries(database)} == {"claimed", "delivered"})
            process.kill()
            process.join()
    finally:
        process.kill()
        process.join()
    worker = worker_for(settings)
    recover(worker.loop_engine, worker.journal, worker.installation.waker)
    assert sorted((row.state, row.attempt_count) for row in deliveries(database)) == [("delivered", 1), ("ready", 1)]
    assert sorted(row.outcome_unknown for row in attempts(database)) == [False, True]


def test_a_loop_without_enough_memory_delivers_everything_in_smaller_claims(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 100})
    list(enqueue_many(Event(type=RECEIVED, data={"text": "x" * 50_000}, account="acme") for _ in range(100)))
    real, refused = Claimer.claim, []

    def claim(self: Claimer, connection: Connection, *arguments: Any, limit_bytes: int, **named: Any) -> Claimed:
        server_process = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        assert server_process not in refused, "a connection keeps the buffer of its largest answer"
        found = real(self, connection, *arguments, limit_bytes=limit_bytes, **named)
        if sum(len(one.data) for one in found.claims) > 600_000:
            refused.append(server_process)
            raise MemoryError
        return found

    monkeypatch.setattr(Claimer, "claim", claim)
    assert DeliveryLoop(worker_for(settings)).run()["delivered"] == 100
    assert {(row.state, row.attempt_count) for row in deliveries(database)} == {("delivered", 1)}
    assert len(refused) > 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may write to")
@pytest.mark.parametrize(("megabytes", "suffices"), [(15, True), (1, False)])
def test_a_child_under_a_limit_makes_smaller_claims_or_ends(
    database: Engine, settings: Settings, receiver: Receiver, tmp_path: Path, megabytes: int, suffices: bool
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 100})
    events = [Event(type=RECEIVED, data={"text": "x" * 250_000}, account="acme") for _ in range(100)]
    list(enqueue_many(events))
    refused = loop_in_little_memory(settings, megabytes * 1_000_000, tmp_path / "refused")
    assert refused > 0
    found = Counter((row.state, row.attempt_count) for row in deliveries(database))
    assert found == {("delivered", 1) if suffices else ("ready", 0): 100}
    if not suffices:
        assert refused <= 8, "it must end once its claims cannot become smaller"
        DeliveryLoop(worker_for(settings)).run()
        assert {row.state for row in deliveries(database)} == {"delivered"}


def test_a_loop_that_ends_by_an_error_of_its_own_keeps_nothing(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    copy_webhook(database, settings, 4)
    enqueue(RECEIVED, MESSAGE, account="acme")

    def defective(loop: DeliveryLoop) -> None:
        for _ in range(2):
            loop._start(loop._unsent.popleft())
        raise RuntimeError("a defect of the loop")

    worker = worker_for(settings)
    with monkeypatch.context() as patched:
        patched.setattr(DeliveryLoop, "_send", defective)
        with pytest.raises(RuntimeError):
            DeliveryLoop(worker).run()
    assert worker.journal.left() is None
    found = Counter((row.state, row.attempt_count) for row in deliveries(database))
    assert found == {("ready", 1): 2, ("ready", 0): 3}
    assert [row.outcome_unknown for row in attempts(database)] == [True, True]
    DeliveryLoop(worker).run()
    DeliveryLoop(worker, SUSPECTS).run()  # the last one was being handled
    assert Counter((row.state, row.attempt_count) for row in deliveries(database)) == {
        ("delivered", 2): 2,
        ("delivered", 1): 3,
    }
