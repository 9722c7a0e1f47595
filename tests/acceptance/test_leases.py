"""Nodes that only deliver sweep, too, and one goes on where another died: without beat and maintenance worker."""

import signal
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import Engine, text

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.acceptance.test_parked_loops import parked
from tests.acceptance.test_workers import Node, eventually, forked, states
from tests.behaviours import Answer, final
from tests.factories import MESSAGE, RECEIVED, attempts, change, make_webhook, rows
from tests.receiver import Receiver

pytestmark = pytest.mark.node

OFTEN = {"DISPATCHER_TIME_SCALE": "0.01"}  # a sweep every half second


def kill(node: Node) -> None:
    """The whole node, as when its machine dies."""
    for process in [psutil.Process(node.process.pid), *node.children()]:
        process.kill()
    node.process.wait(20)


HELD = """
SELECT pid, until - now() < interval '15 seconds' AS bounded
FROM dispatcher.leases l JOIN dispatcher.processes p ON p.id = l.holder
WHERE name = 'sweep' AND until > now() + interval '5 seconds'
"""


def pids(node: Node) -> set[int]:
    return {child.pid for child in node.children()}


def test_without_beat_and_maintenance_worker_retries_are_made(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", tmp_path: Path
) -> None:
    receiver.script("/hook", Answer(500), Answer(500), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"))
    with forked("workers", "deliver", "-c", "2", log=tmp_path / "log", **OFTEN) as node:
        eventually(lambda: parked(broker) == 2, node)
        enqueue(RECEIVED, MESSAGE, account="acme")
        eventually(lambda: states(database) == ["delivered"], node)
        assert len(receiver.received) == 3
        seen = "SELECT pid FROM dispatcher.processes WHERE kind = 'deliver'"
        assert {row.pid for row in rows(database, seen)} == pids(node)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == 0
    assert rows(database, seen) == [], "who ends says so"


def test_what_a_killed_node_had_claimed_comes_back_through_another_that_only_delivers(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", tmp_path: Path
) -> None:
    hold = receiver.gate()
    receiver.script("/hook", (hold, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    with forked("workers", "deliver", "-c", "1", log=tmp_path / "first.log", **OFTEN) as first:
        enqueue(RECEIVED, MESSAGE, account="acme")
        receiver.wait_for(1, timeout=30)
        eventually(lambda: states(database) == ["claimed"], first)
        kill(first)
    hold.open()
    with forked("workers", "deliver", "-n", "two@%h", "-c", "1", log=tmp_path / "second.log", **OFTEN) as second:
        eventually(lambda: parked(broker) == 1, second)
        assert states(database) == ["claimed"]
        change(database, "UPDATE dispatcher.deliveries SET claimed_until = now()")
        eventually(lambda: states(database) == ["delivered"], second)
    assert [row.outcome_unknown for row in attempts(database)] == [True, False]


def stopped_while_it_sweeps(database: Engine, node: Node) -> int:
    """The id of a process that stands still with the lease of the sweep."""
    while True:
        eventually(lambda: rows(database, HELD), node)
        for row in rows(database, HELD):
            holder = psutil.Process(row.pid)
            holder.suspend()
            if [row.pid for row in rows(database, HELD)] == [holder.pid]:
                return holder.pid
            holder.resume()


def test_a_node_that_dies_while_it_sweeps_holds_the_next_sweep_up_for_the_time_of_its_lease(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", tmp_path: Path
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    held = "SELECT pid, until - now() < interval '15 seconds' AS bounded FROM dispatcher.leases l"
    held += (
        " JOIN dispatcher.processes p ON p.id = l.holder WHERE name = 'sweep' AND until > now() + interval '5 seconds'"
    )
    names = ("first@%h", "second@%h")
    with (
        forked("workers", "deliver", "-n", names[0], "-c", "1", log=tmp_path / "first.log", **OFTEN) as first,
        forked("workers", "deliver", "-n", names[1], "-c", "1", log=tmp_path / "second.log", **OFTEN) as second,
    ):
        eventually(lambda: parked(broker) == 2, second)
        enqueue(RECEIVED, MESSAGE, account="acme")
        eventually(lambda: states(database) == ["delivered"], second)
        with database.begin() as somebody:  # a sweep waits for this for a moment, with its lease
            somebody.execute(text("LOCK TABLE dispatcher.notices"))
            holder = stopped_while_it_sweeps(database, second)
        dying, living = (first, second) if holder in pids(first) else (second, first)
        kill(dying)
        change(database, "UPDATE dispatcher.deliveries SET state = 'waiting', due_at = now()")
        (held,) = rows(database, HELD)
        assert (held.pid, held.bounded) == (holder, True)
        change(database, "UPDATE dispatcher.leases SET until = until - interval '15 seconds'")  # that time passes
        eventually(lambda: states(database) == ["delivered"], living)
    assert len(receiver.received) == 2
