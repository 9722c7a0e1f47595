"""What real nodes show to Prometheus: all that their children count, also of those that died."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.acceptance.test_workers import Node, eventually, forked, states
from tests.behaviours import Answer
from tests.dead_ports import refusing_port
from tests.exposition import Exposition, read
from tests.factories import MESSAGE, RECEIVED, make_webhook
from tests.receiver import Receiver

pytestmark = pytest.mark.node

TOKEN = "a-token-of-the-tests"
WELL = ("/healthz", "/readyz")


@pytest.fixture
def port() -> int:
    return refusing_port()


@pytest.fixture
def node(settings: Settings, port: int, tmp_path: Path) -> Iterator[Node]:
    words = ("workers", "deliver", "-c", "1", "--metrics", str(port))
    with forked(*words, log=tmp_path / "log", DISPATCHER_METRICS_TOKEN=TOKEN) as running:
        eventually(lambda: running.ready, running)
        yield running


def scrape(port: int) -> Exposition:
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert answer.status_code == 200
    return read(answer)


def test_a_child_that_takes_the_place_of_a_dead_one_goes_on_counting(
    database: Engine, settings: Settings, receiver: Receiver, node: Node, port: int
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    receiver.script("/hook", Answer(200), Answer(404), Answer(200))
    for expected in ({"delivered"}, {"delivered", "discarded"}):
        enqueue(RECEIVED, MESSAGE, account="acme")
        eventually(lambda expected=expected: set(states(database)) == expected, node)  # type: ignore[misc]
    (child,) = node.children()
    child.kill()
    enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: sorted(states(database)) == ["delivered", "delivered", "discarded"], node)
    eventually(lambda: scrape(port).value("dispatcher_deliveries_total", outcome="delivered") == 2, node)
    found = scrape(port)
    assert found.value("dispatcher_deliveries_total", outcome="discarded", reason="rejected") == 1
    assert found.value("dispatcher_requests_total", status="2xx") == 2
    assert found.value("dispatcher_requests_total", status="4xx") == 1
    assert found.value("dispatcher_request_duration_seconds_count") == 3
    assert found.value("dispatcher_first_attempt_delay_seconds_count") == 3
    assert found.value("dispatcher_acknowledged_delay_seconds_count") == 2
    assert found.value("dispatcher_results_size_sum") == 3
    assert found.value("dispatcher_claim_size_sum") == 3
    assert found.value("dispatcher_child_deaths_total", cause="died") == 1
    assert found.value("dispatcher_requests_in_flight") == 0
    assert found.value("dispatcher_children") == 1
    assert 0 < found.value("dispatcher_acknowledged_delay_seconds_sum") < 60
    assert not found.shows(str(webhook.id))
    assert not found.shows("acme")


def test_a_node_without_the_broker_still_shows_its_metrics(
    database: Engine, settings: Settings, port: int, tmp_path: Path
) -> None:
    words = ("workers", "deliver", "-c", "1", "--metrics", str(port))
    broker = f"redis://127.0.0.1:{refusing_port()}/0"
    with forked(*words, log=tmp_path / "log", BROKER_URL=broker, DISPATCHER_METRICS_TOKEN=TOKEN) as node:
        eventually(lambda: "the broker does not answer" in node.said, node)
        assert scrape(port).value("dispatcher_children") == 1
        assert [requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code for path in WELL] == [200, 503]


def test_a_node_that_waits_for_its_database_is_well_and_not_ready(
    settings: Settings, port: int, tmp_path: Path
) -> None:
    words = ("workers", "deliver", "-c", "1", "--metrics", str(port))
    away = f"postgresql://nobody@127.0.0.1:{refusing_port()}/x"
    with forked(*words, log=tmp_path / "log", DATABASE_URL=away) as node:
        eventually(lambda: "the worker waits for its database" in node.said, node)
        asked = (*WELL, "/metrics")
        assert [requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code for path in asked] == [
            200,
            503,
            503,
        ]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 401),
        (b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer wrong-token-of-the-tests\r\n\r\n", 401),
        (b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n\r\n", 401),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"\r\n\r\n", 404),
    ],
)
def test_who_does_not_show_the_token_sees_nothing(node: Node, port: int, sent: bytes, status: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(sent)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"dispatcher_" not in answer


def test_connections_that_say_nothing_or_too_much_keep_nobody_from_reading(node: Node, port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
    loud = socket.create_connection(("127.0.0.1", port), timeout=10)
    try:
        loud.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert scrape(port).value("dispatcher_children") == 1
    finally:
        for connection in (*silent, loud):
            connection.close()


def test_a_port_that_somebody_has_ends_the_node_with_one_sentence(
    settings: Settings, port: int, tmp_path: Path
) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", port))),
        forked("workers", "deliver", "--metrics", str(port), log=tmp_path / "log") as node,
    ):
        assert node.process.wait(30) != 0
    assert f"Error: --metrics: 127.0.0.1 port {port} cannot be used (Address already in use)" in node.said
    assert "Traceback" not in node.said


def test_an_address_that_others_reach_needs_the_token(settings: Settings, port: int, tmp_path: Path) -> None:
    with forked("workers", "deliver", "--metrics", f"0.0.0.0:{port}", log=tmp_path / "log") as node:
        assert node.process.wait(30) != 0
    assert "set DISPATCHER_METRICS_TOKEN" in node.said
    assert "Traceback" not in node.said


def test_several_nodes_in_one_command_have_a_port_each(
    database: Engine, settings: Settings, receiver: Receiver, port: int, tmp_path: Path
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    other = refusing_port()
    words = ("deliver", "-c", "1", "--metrics", str(port), "maintenance", "-c", "2", "--metrics", str(other))
    with forked("workers", *words, log=tmp_path / "log", DISPATCHER_METRICS_TOKEN=TOKEN) as both:
        eventually(lambda: both.said.count("worker ready") == 2, both)
        enqueue(RECEIVED, MESSAGE, account="acme")
        eventually(lambda: scrape(port).value("dispatcher_deliveries_total", outcome="delivered") == 1, both)
        found = scrape(other)
        assert found.value("dispatcher_children") == 2
        assert found.value("dispatcher_deliveries_total", outcome="delivered") == 0
        os.kill(both.process.pid, signal.SIGTERM)
        assert both.process.wait(30) == 0
