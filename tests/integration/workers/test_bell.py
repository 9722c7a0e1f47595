"""Parked loops, rings and what becomes of them, with a real broker and a real database."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from dispatcher.wake import BELL, PARKED, Waker
from tests.behaviours import final
from tests.factories import MESSAGE, RECEIVED, change, deliveries, make_webhook, sweep_once
from tests.integration.workers.parked import ParkedLoop, parked_loops, until
from tests.receiver import Receiver
from workers import bell as bell_module

FLAG = "dispatcher:wake:dispatcher.deliver"


def all_delivered(database: Engine, count: int) -> bool:
    return [row.state for row in deliveries(database)] == ["delivered"] * count


@pytest.fixture
def no_safety(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is not told anything does nothing."""
    monkeypatch.setattr(bell_module, "SAFETY", 600.0)


@pytest.mark.usefixtures("no_safety")
def test_one_ring_wakes_exactly_one_of_two_parked_loops(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    broker: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings, 2) as loops:
        for n in range(1, 7):
            enqueue(RECEIVED, MESSAGE, account="acme")
            until(lambda n=n: all_delivered(database, n))
            until(lambda: all(loop.is_parked for loop in loops))
            assert sum(loop.rings for loop in loops) == n
        assert all(loop.rings for loop in loops), "the one that waits longest is next"
        assert (broker.llen("deliver"), broker.get(FLAG)) == (0, None)


@pytest.mark.usefixtures("no_safety")
def test_a_parked_loop_claims_nothing_until_it_is_told(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        until(lambda: loop.claims >= 2)  # the second one, because the bell was not there at the first
        before = loop.claims
        time.sleep(2.5)  # more than two slices of the bell
        assert loop.claims == before
        enqueue(RECEIVED, MESSAGE, account="acme")
        until(lambda: all_delivered(database, 1))


def test_a_lost_ring_costs_time_only(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell_module, "SAFETY", 1.5)
    monkeypatch.setattr(Waker, "wake", lambda *_: False)  # as if a killed loop had taken the ring with it
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        enqueue(RECEIVED, MESSAGE, account="acme")
        until(lambda: all_delivered(database, 1))
        assert (loop.rings, broker.llen(BELL)) == (0, 0)


@pytest.mark.usefixtures("no_safety")
def test_the_sweep_rings_for_what_is_ready(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings):
        with monkeypatch.context() as nobody_wakes:
            nobody_wakes.setattr(Waker, "wake", lambda *_: False)
            enqueue(RECEIVED, MESSAGE, account="acme")
        sweep_once(settings)
        until(lambda: all_delivered(database, 1))


@pytest.mark.usefixtures("no_safety")
@pytest.mark.parametrize("loss", ["flushall", "delete"])
def test_a_broker_that_was_emptied_is_marked_again_within_a_slice(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    broker: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
    loss: str,
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings):
        broker.flushall() if loss == "flushall" else broker.delete(BELL, PARKED)
        enqueue(RECEIVED, MESSAGE, account="acme")  # without the mark: a ring and a message
        until(lambda: all_delivered(database, 1))
        until(lambda: broker.get(PARKED))
        assert 0 < broker.pttl(PARKED) <= 3_000


@pytest.mark.usefixtures("no_safety")
def test_a_message_of_an_older_version_reaches_a_parked_loop_and_its_flag_is_cleared(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    def wake_as_before(waker: Waker) -> bool:
        return waker._set_flag(FLAG, "sent", 5, only_new=True) and waker._send("dispatcher.deliver")

    monkeypatch.setattr(Waker, "wake", wake_as_before)
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings):
        for n in range(1, 4):
            enqueue(RECEIVED, MESSAGE, account="acme")
            until(lambda n=n: all_delivered(database, n))
        assert (broker.llen("deliver"), broker.get(FLAG)) == (0, None)


def test_a_loop_of_an_older_version_that_is_awake_needs_no_message(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    broker.set(FLAG, "awake", px=3_000)
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert broker.llen("deliver") == 0


@pytest.mark.usefixtures("no_safety")
def test_while_slow_requests_are_in_flight_a_new_event_is_told_at_once(
    database: Engine, either: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = receiver.gate()
    receiver.script("/slow", (gate, final(200)))
    make_webhook(database, either, url=receiver.url("/slow"), event_types=["slow"])
    make_webhook(database, either, url=receiver.url("/quick"), event_types=["quick"])
    try:
        with parked_loops(monkeypatch, either) as (loop,):
            for _ in range(4):
                enqueue("slow", MESSAGE, account="acme")
            receiver.wait_for(4, path="/slow")
            until(lambda: loop.loop._pace.nothing_due and loop.bell._asked_at is not None)
            told = loop.rings
            enqueue("quick", MESSAGE, account="acme")
            receiver.wait_for(1, path="/quick")
            assert loop.rings == told + 1
            gate.open()
            until(lambda: all_delivered(database, 5))
    finally:
        gate.open()


@pytest.mark.usefixtures("no_safety")
def test_what_was_passed_over_for_want_of_room_is_claimed_without_a_ring(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells that a request has ended but its own loop."""
    held = [receiver.gate() for _ in range(12)]
    receiver.script("/hook", *((gate, final(200)) for gate in held))
    make_webhook(database, settings, url=receiver.url("/hook"))
    try:
        with parked_loops(monkeypatch, settings) as (loop,):
            for _ in range(12):
                enqueue(RECEIVED, MESSAGE, account="acme")
            receiver.wait_for(4)
            until(lambda: loop.bell._asked_at is not None)
            told = loop.rings
            for gate in held:
                gate.open()
            until(lambda: all_delivered(database, 12))
            assert loop.rings <= told + 1
    finally:
        for gate in held:
            gate.open()


@pytest.mark.usefixtures("no_safety")
def test_a_loop_without_room_passes_the_ring_on(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings, 2) as (full, other):
        monkeypatch.setattr(full.loop, "_can_hold_more", lambda: False)
        for n in range(1, 5):
            enqueue(RECEIVED, MESSAGE, account="acme")
            until(lambda n=n: all_delivered(database, n))
        assert (full.counts, other.loop._claimed) == ({}, 4)


def test_a_loop_that_ends_leaves_no_mark_and_a_ring_for_others(
    database: Engine, settings: Settings, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    with parked_loops(monkeypatch, settings):
        assert broker.get(PARKED)
    assert (broker.get(PARKED), broker.llen(BELL)) == (None, 1)


def test_a_loop_that_fails_ends_its_bell_and_says_why(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))

    def fail() -> None:
        raise KeyError("a test")

    with parked_loops(monkeypatch, settings) as (loop,):
        loop._claim = fail  # type: ignore[method-assign]
        enqueue(RECEIVED, MESSAGE, account="acme")
        until(lambda: loop.error is not None)
        assert isinstance(loop.error, KeyError)
        loop.error = None
    assert broker.get(PARKED) is None


# What the broker may answer


class Answering:
    """A server that speaks just enough of the protocol to be a broker that has lost its mind."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.asked = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                words = []
                for _ in range(int(line[1:])):
                    lines.readline()
                    words.append(lines.readline().strip().upper())
                self.asked += words[0] == b"BLPOP"
                connection.sendall(b"+OK\r\n" if words[0] in {b"CLIENT", b"SELECT"} else self._answer)

    def close(self) -> None:
        self._listening.close()


ANSWERS = {
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "UNBLOCKED": b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
    "LOADING": b"-LOADING Valkey is loading the dataset in memory\r\n",
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "nonsense": b"?what\r\n",
}


@contextmanager
def answering(answer: bytes) -> Iterator[Answering]:
    server = Answering(answer)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.usefixtures("no_safety")
@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_the_broker_answers_a_parked_loop_looks_by_itself_until_it_is_heard_again(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    stop = threading.Event()
    monkeypatch.setattr("workers.loop.loops_stay", lambda: True)
    monkeypatch.setattr("workers.loop.is_stopping", stop.is_set)
    with answering(ANSWERS[answer]) as server, monkeypatch.context() as confused:
        confused.setattr(Waker, "connection", lambda _: redis.Connection("127.0.0.1", server.port, protocol=2))
        loop = ParkedLoop(settings, stop)
        try:
            until(lambda: server.asked >= 2)
            enqueue(RECEIVED, MESSAGE, account="acme")
            until(lambda: all_delivered(database, 1))
            confused.undo()
            until(lambda: loop.is_parked)
        finally:
            loop.end()


@contextmanager
def made_a_replica(broker: "redis.Redis") -> Iterator[None]:
    """Of nobody: it answers READONLY, and UNBLOCKED to those who wait."""
    broker.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        broker.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def filled_up(broker: "redis.Redis") -> Iterator[None]:
    """It answers OOM."""
    broker.config_set("maxmemory", "1")
    try:
        yield
    finally:
        broker.config_set("maxmemory", "0")


@pytest.mark.usefixtures("no_safety")
@pytest.mark.parametrize("trouble", [made_a_replica, filled_up])
def test_a_broker_that_takes_nothing_is_no_producers_error_and_holds_up_no_delivery(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    broker: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[["redis.Redis"], AbstractContextManager[None]],
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        with trouble(broker):
            assert enqueue(RECEIVED, MESSAGE, account="acme").deliveries == 1
            until(lambda: all_delivered(database, 1))
        until(lambda: loop.is_parked and broker.get(PARKED))
        assert Waker(settings.broker_url.get_secret_value()).wake() is False
        until(lambda: loop.rings)


@pytest.mark.usefixtures("no_safety")
def test_a_connection_that_is_cut_while_a_loop_is_parked_is_made_again(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        for n in range(1, 4):
            broker.client_kill_filter(_type="normal", skipme=True)
            until(lambda: not loop.bell.is_heard)
            until(lambda: loop.is_parked)
            enqueue(RECEIVED, MESSAGE, account="acme")
            until(lambda n=n: all_delivered(database, n))


def test_what_a_person_asked_for_passes_an_open_circuit_though_nothing_else_is_due(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell_module, "SAFETY", 600.0)
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        change(
            database,
            "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)"
            " VALUES (:id, 5, now(), now(), now())",
            id=webhook.id,
        )
        told = loop.rings
        enqueue(RECEIVED, MESSAGE, account="acme")  # it becomes the trial
        until(lambda: all_delivered(database, 1))
        assert loop.rings > told
