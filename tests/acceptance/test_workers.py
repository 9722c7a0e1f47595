"""Real worker processes, as an operator starts them: `python -m workers`, or `celery -A workers worker`. Where it
does not matter how a process came to be, it is forked from one that has loaded everything."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import psutil
import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from dispatcher.wake import REDELIVER
from tests.behaviours import Answer, final
from tests.conftest import Servers
from tests.factories import MESSAGE, RECEIVED, TESTER, attempts, change, deliveries, make_webhook, rows
from tests.forked import Forked
from tests.installations import installation_for
from tests.receiver import Receiver
from tests.relay import Relay

pytestmark = pytest.mark.node


class Node:
    """A running node and its output, of this test alone."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", log: Path) -> None:
        self.process, self._log = process, log
        self._before = 0  # bytes

    def begin_test(self) -> None:
        self._before = self._log.stat().st_size

    @property
    def said(self) -> str:
        return self._log.read_bytes()[self._before :].decode(errors="replace")

    @property
    def ready(self) -> bool:
        return b" ready." in self._log.read_bytes()

    def lines(self, text: str) -> list[dict[str, Any]]:
        """The log lines with this text."""
        parsed = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [line for line in parsed if line.get("event") == text]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


DELIVER = {
    "workers": ("workers", "deliver", "-c", "2"),
    "celery": ("celery", "-A", "workers", "worker", "-Q", "deliver", "-n", "deliver@%h", "-c", "2"),
}
Start: TypeAlias = Callable[..., AbstractContextManager[Node]]
EITHER_WAY = pytest.mark.parametrize("deliver_node", [*DELIVER], indirect=True)


@contextmanager
def python(*words: str, log: Path, **more: str) -> Iterator[Node]:
    """Runs `python -m ...` until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **more},
            start_new_session=True,
        )
    with _ending(process):
        yield Node(process, log)


@contextmanager
def forked(*words: str, log: Path, **more: str) -> Iterator[Node]:
    """The same in a process that has loaded everything before."""
    with log.open("wb") as output:
        process = Forked(words, {**os.environ, **more}, stdout=output.fileno())
    with _ending(process):
        yield Node(process, log)


@contextmanager
def _ending(process: "subprocess.Popen[bytes] | Forked") -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)


def eventually(condition: Callable[[], object], node: Node, seconds: float = 30.0) -> None:
    """Waits for something that other processes cause."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert node.process.poll() is None, f"the node ended with {node.process.returncode}:\n{node.said}"
        assert time.monotonic() < deadline, f"did not happen in {seconds} s:\n{node.said}"
        time.sleep(0.02)


class Nodes:
    """Nodes that stay for the next test: each start of Celery takes a second. One that a test ended is started anew.
    All reach the broker through a relay."""

    def __init__(self, broker_url: str, folder: Path, until: ExitStack) -> None:
        self._broker_url, self.folder, self._until = broker_url, folder, until
        self._running: dict[str, tuple[tuple[tuple[str, ...], Start], Node]] = {}
        self._started = 0

    def get(self, name: str, *words: str, start: Start = forked, **more: str) -> Node:
        before, node = self._running.get(name, (None, None))
        if node is not None and before != (words, start):
            node.process.kill()
            node.process.wait(20)
        if node is None or node.process.poll() is not None:
            self._started += 1
            log = self.folder / f"{self._started}-{name}.log"
            node = self._until.enter_context(start(*words, log=log, **{"BROKER_URL": self._broker_url, **more}))
            self._running[name] = (words, start), node
        node.begin_test()
        return node


@pytest.fixture(scope="module")
def relay(servers: Servers) -> Iterator[Relay]:
    port = urlsplit(servers.broker_url).port
    assert port is not None
    with Relay(port) as relay:
        yield relay


@pytest.fixture(scope="module")
def relayed_url(servers: Servers, relay: Relay) -> str:
    return servers.broker_url.replace(f":{urlsplit(servers.broker_url).port}/", f":{relay.port}/")


@pytest.fixture(scope="module")
def nodes(relayed_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with ExitStack() as until:
        yield Nodes(relayed_url, tmp_path_factory.mktemp("nodes"), until)


@pytest.fixture
def deliver_node(settings: Settings, nodes: Nodes, request: pytest.FixtureRequest) -> Node:
    if not hasattr(request, "param"):
        return nodes.get("deliver", *DELIVER["workers"])
    return nodes.get("deliver", *DELIVER[request.param], start=python)


@pytest.fixture
def maintenance_worker(settings: Settings, nodes: Nodes) -> Node:
    return nodes.get("upkeep", "workers", "maintenance")


@pytest.fixture
def beat(settings: Settings, nodes: Nodes) -> Node:
    return nodes.get("beat", "workers", "beat", "-s", str(nodes.folder / "schedule"), DISPATCHER_TIME_SCALE="0.01")


def states(database: Engine) -> list[str]:
    return [row.state for row in deliveries(database)]


@EITHER_WAY
def test_an_event_reaches_its_receiver_through_a_real_worker(
    database: Engine, settings: Settings, receiver: Receiver, deliver_node: Node
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook?secret=planted-secret"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(1, timeout=30)
    eventually(lambda: states(database) == ["delivered"], deliver_node)
    eventually(lambda: deliver_node.lines("delivered"), deliver_node)
    (line,) = deliver_node.lines("delivered")
    (delivery,) = deliveries(database)
    assert (line["delivery"], line["attempt"], line["status"], line["level"]) == (str(delivery.id), 1, 200, "info")
    assert "planted-secret" not in deliver_node.said


@EITHER_WAY
def test_a_warm_stop_ends_what_is_in_flight_and_leaves_the_rest(
    database: Engine, settings: Settings, receiver: Receiver, deliver_node: Node
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(30):
        enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(4, timeout=30)
    deliver_node.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Warm shutdown" in deliver_node.said, deliver_node)
    gate.open()
    assert deliver_node.process.wait(30) == 0
    found = states(database)
    assert set(found) == {"delivered", "ready"}
    assert found.count("delivered") == len(receiver.received) < 30
    assert all(row.status == 200 for row in attempts(database))


def test_a_killed_worker_loses_nothing(
    database: Engine, settings: Settings, receiver: Receiver, deliver_node: Node, maintenance_worker: Node, beat: Node
) -> None:
    """kill -9 with requests in flight: claims expire, the sweep records the attempts as unknown, everything arrives."""
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(20):
        enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(4, timeout=30)
    eventually(lambda: states(database).count("claimed") >= 4, deliver_node)
    for child in deliver_node.children():
        child.kill()
    gate.open()
    change(database, "UPDATE dispatcher.deliveries SET claimed_until = now() WHERE state = 'claimed'")
    eventually(lambda: states(database) == ["delivered"] * 20, deliver_node, 60)
    assert sum(row.outcome_unknown for row in attempts(database)) >= 4
    assert {r.header("Dispatcher-Delivery-Id") for r in receiver.received} == {
        str(row.id) for row in deliveries(database)
    }


def test_what_the_broker_lost_is_found_by_the_sweep(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    deliver_node: Node,
    maintenance_worker: Node,
    beat: Node,
    broker: "redis.Redis",
) -> None:
    eventually(lambda: deliver_node.ready and maintenance_worker.ready, deliver_node)
    receiver.script("/hook", Answer(500), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: states(database) == ["waiting"], deliver_node)
    broker.flushall()
    change(database, "UPDATE dispatcher.deliveries SET due_at = now()")
    eventually(lambda: states(database) == ["delivered"], beat)
    assert len(receiver.received) == 2


def test_a_bulk_redelivery_survives_its_worker_and_sends_each_delivery_once(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    deliver_node: Node,
    maintenance_worker: Node,
    beat: Node,
    tmp_path: Path,
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    receiver.script("/hook", Answer(404))
    for _ in range(60):
        enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: states(database) == ["discarded"] * 60, deliver_node)
    receiver.script("/hook", Answer(200))
    eventually(lambda: maintenance_worker.ready, maintenance_worker)
    with Session(database) as session, session.begin():
        order(session, find_account(session, "acme"), Selection(), by=TESTER, per_second=10)
    installation_for(settings).waker.wake(REDELIVER)

    def redelivered() -> int:
        (row,) = rows(database, "SELECT redelivered FROM dispatcher.redeliveries")
        return int(row.redelivered)

    eventually(lambda: redelivered() > 20, maintenance_worker)  # several steps, each started by the one before
    for process in [*maintenance_worker.children(), psutil.Process(maintenance_worker.process.pid)]:
        process.kill()
    maintenance_worker.process.wait(20)
    assert redelivered() < 60
    words = ("workers", "maintenance", "-n", "upkeep2@%h", "-c", "2")
    with forked(*words, log=tmp_path / "second.log") as second:
        eventually(lambda: states(database) == ["delivered"] * 60, second)
        eventually(
            lambda: rows(database, "SELECT 1 FROM dispatcher.redeliveries WHERE finished_at IS NOT NULL"), second
        )
    assert redelivered() == 60
    numbers = [request.header("Dispatcher-Attempt") for request in receiver.received]
    assert (numbers.count("1"), numbers.count("2"), len(numbers)) == (60, 60, 120)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DISPATCHER_ENCRYPTION_KEYS", "", "DISPATCHER_ENCRYPTION_KEYS is not set"),
        (
            "DISPATCHER_ENCRYPTION_KEYS",
            "bm90IGEga2V5IG9mIHRoaXMgZGF0YWJhc2UuLi4uLi4=",
            "add the key that it was encrypted with",
        ),
        ("DISPATCHER_CA_BUNDLE", "/nowhere.pem", "DISPATCHER_CA_BUNDLE names a file that cannot be read: No such file"),
    ],
)
def test_a_worker_that_cannot_work_says_why_and_ends(
    database: Engine,
    settings: Settings,
    tmp_path: Path,
    variable: str,
    value: str,
    sentence: str,
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    with forked("workers", "deliver", "-c", "1", log=tmp_path / "log", **{variable: value}) as node:
        assert node.process.wait(30) != 0
    assert sentence in node.said
    assert "Traceback" not in node.said


@pytest.fixture
def relayed_broker(
    environment: dict[str, str], relay: Relay, relayed_url: str, monkeypatch: pytest.MonkeyPatch
) -> Relay:
    """A broker that can go away: this process, too, reaches it through the relay."""
    monkeypatch.setenv("BROKER_URL", relayed_url)
    return relay


def test_a_broker_that_goes_away_empty_and_comes_back_costs_time_and_no_message(
    relayed_broker: Relay,
    broker: "redis.Redis",
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    deliver_node: Node,
    maintenance_worker: Node,
    beat: Node,
) -> None:
    """After a restart of Redis many Celery workers stop receiving; these continue without a restart."""
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: states(database) == ["delivered"], deliver_node)
    relayed_broker.cut()
    for _ in range(10):
        assert enqueue(RECEIVED, MESSAGE, account="acme").deliveries == 1
    relayed_broker.restore()
    broker.flushall()
    eventually(lambda: states(database) == ["delivered"] * 11, deliver_node, 90)
    assert len(receiver.received) == 11
