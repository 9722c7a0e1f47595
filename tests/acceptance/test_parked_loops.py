"""Loops that stay, in real nodes: as many as there are children, whatever dies, and they hold nothing of others."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from dispatcher.wake import PARKED
from tests.acceptance.test_workers import Node, eventually, forked, states
from tests.factories import MESSAGE, RECEIVED, make_webhook
from tests.receiver import Receiver
from workers.celery_app import make_celery

pytestmark = pytest.mark.node

AT_ONCE = 4.0  # seconds: less than a lost ring would cost, much more than a ring takes


@pytest.fixture(params=["curl", "requests"])
def node(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    words = ("workers", "deliver", "-c", "2")
    with forked(*words, log=tmp_path / "deliver.log", DISPATCHER_TRANSPORT=request.param) as running:
        yield running


def active(settings: Settings) -> list[str]:
    """The tasks that `inspect active` shows, of all nodes."""
    answers: dict[str, list[dict[str, Any]]] = make_celery(settings).control.inspect(timeout=1.0).active() or {}
    return [task["name"] for tasks in answers.values() for task in tasks]


def parked(broker: "redis.Redis") -> int:
    """How many connections wait for a ring."""
    return sum(client["cmd"] == "blpop" for client in broker.client_list())


def deliver_one(database: Engine, receiver: Receiver, node: Node) -> None:
    before = len(receiver.received)
    enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: len(receiver.received) > before, node, AT_ONCE)


def test_each_child_has_its_loop_and_gets_it_back_after_a_kill(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", node: Node
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    eventually(lambda: parked(broker) == 2, node)
    eventually(lambda: active(settings) == ["dispatcher.deliver"] * 2, node)  # a busy node may answer too late
    deliver_one(database, receiver, node)
    for child in node.children():
        child.kill()
        child.wait(20)
        eventually(lambda: parked(broker) == 2, node)
        deliver_one(database, receiver, node)
    eventually(lambda: set(states(database)) == {"delivered"}, node)
    eventually(lambda: active(settings) == ["dispatcher.deliver"] * 2, node)  # a busy node may answer too late
    assert [key for key in broker.keys("*loops*") if broker.type(key) == "list"] == []


def test_a_flushed_broker_costs_no_loop(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", node: Node
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    eventually(lambda: parked(broker) == 2, node)
    broker.flushall()
    broker.script_flush()
    deliver_one(database, receiver, node)
    eventually(lambda: broker.get(PARKED) and parked(broker) == 2, node)
    deliver_one(database, receiver, node)
    eventually(lambda: set(states(database)) == {"delivered"}, node)


def test_two_nodes_hold_no_messages_and_one_goes_on_when_the_other_is_killed(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", node: Node, tmp_path: Path
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    words = ("workers", "deliver", "-n", "second@%h", "-c", "2")
    with forked(*words, log=tmp_path / "second.log") as second:
        eventually(lambda: parked(broker) == 4, second)
        deliver_one(database, receiver, node)
        assert (broker.llen("deliver"), broker.hlen("unacked")) == (0, 0)
        eventually(lambda: set(states(database)) == {"delivered"}, node)  # what is killed first is claimed for a minute
        for process in [psutil.Process(second.process.pid), *second.children()]:
            process.kill()
        second.process.wait(20)
        for _ in range(3):
            deliver_one(database, receiver, node)
    eventually(lambda: set(states(database)) == {"delivered"}, node)


def test_parked_loops_are_stopped_at_once(
    settings: Settings, broker: "redis.Redis", node: Node, database: Engine
) -> None:
    eventually(lambda: " ready." in node.said and parked(broker) == 2, node)
    began = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    eventually(lambda: parked(broker) == 0, node)
    assert node.process.wait(20) == 0
    assert time.monotonic() - began < 10
    assert broker.get(PARKED) is None


def test_no_loop_outlives_its_main_process(
    settings: Settings, broker: "redis.Redis", node: Node, database: Engine
) -> None:
    eventually(lambda: " ready." in node.said and parked(broker) == 2, node)
    children = node.children()
    node.process.kill()
    node.process.wait(20)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_a_node_that_also_has_other_work_keeps_its_children_free(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis", tmp_path: Path
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    words = ("celery", "-A", "workers", "worker", "-Q", "deliver,mail,upkeep", "-n", "all@%h", "-c", "1")
    with forked(*words, log=tmp_path / "all.log") as node:
        for n in range(1, 3):
            enqueue(RECEIVED, MESSAGE, account="acme")
            eventually(lambda n=n: states(database) == ["delivered"] * n, node)
            eventually(lambda: broker.get("dispatcher:wake:dispatcher.deliver") is None, node)
        assert (parked(broker), broker.get(PARKED)) == (0, None)
