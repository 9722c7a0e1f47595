"""Real nodes and beat whose broker answers with errors, or whose master changes: none ends, and they work on."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import redis

from dispatcher.broker.celery_settings import celery_settings
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from tests.acceptance.test_workers import Node, eventually, python
from tests.sentinels import PASSWORD, SENTINELS_PASSWORD, watched_servers

pytestmark = pytest.mark.node


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path / "valkey", password=PASSWORD, persistent=False) as valkey:
        yield valkey


@contextmanager
def maintenance_and_beat(url: str, folder: Path) -> Iterator[tuple[Node, Node]]:
    """Both run."""
    variables = {"BROKER_URL": url, "DISPATCHER_TIME_SCALE": "0.1"}
    with (
        python("workers", "maintenance", "-c", "1", log=folder / "node", **variables) as node,
        python("workers", "beat", "-s", str(folder / "schedule"), log=folder / "beat", **variables) as beat,
    ):
        eventually(lambda: node.ready, node)
        yield node, beat


def takes_tasks(client: "redis.Redis", node: Node, beat: Node) -> None:
    """Beat sends, and the node takes it: its queue has been filled and emptied again. Now the node waits for more: a
    connection that it does not wait on, it opens again without a word."""
    taken = pushed(client)
    eventually(lambda: pushed(client) > taken and not client.llen("upkeep"), node)
    eventually(lambda: waiting(client), node)
    assert beat.process.poll() is None, beat.said


def pushed(client: "redis.Redis") -> int:
    """How many messages have been sent to this server."""
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_lpush", {}).get("calls", 0))


def demoted(client: "redis.Redis") -> Callable[[], object]:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: client.execute_command("REPLICAOF", "NO", "ONE")


def full(client: "redis.Redis") -> Callable[[], object]:
    client.config_set("maxmemory", "1")
    client.client_kill_filter(_type="normal", skipme=True)
    return lambda: client.config_set("maxmemory", "0")


def locked(client: "redis.Redis") -> Callable[[], object]:
    client.config_set("requirepass", "another")
    client.client_kill_filter(_type="normal", skipme=True)
    return lambda: client.config_set("requirepass", PASSWORD)


def unblocked(client: "redis.Redis") -> Callable[[], object]:
    """Those who wait get an error, and nothing is wrong with the broker."""
    for one in waiting(client):
        client.execute_command("CLIENT", "UNBLOCK", one, "ERROR")
    return lambda: None


def waiting(client: "redis.Redis") -> list[str]:
    """The ids of the connections on which somebody waits for a message."""
    listed: Any = client.client_list()
    return [one["id"] for one in listed if "b" in one["flags"]]


TROUBLES = {"READONLY": demoted, "OOM": full, "NOAUTH": locked, "UNBLOCKED": unblocked}


@pytest.mark.usefixtures("environment")
def test_no_error_of_the_broker_ends_a_node_or_beat_and_each_outage_is_told_once(
    own_broker: EmbeddedValkey, tmp_path: Path
) -> None:
    with (
        redis.Redis.from_url(own_broker.url) as client,
        maintenance_and_beat(own_broker.url, tmp_path) as (node, beat),
    ):
        for name, trouble in TROUBLES.items():
            takes_tasks(client, node, beat)
            node.begin_test()
            beat.begin_test()
            over = trouble(client)
            if name != "UNBLOCKED":
                eventually(lambda: "no tasks are sent" in beat.said and "tasks wait" in node.said, node)
                time.sleep(2)  # further tries of both
                assert node.said.count("the broker does not answer: tasks wait") == 1
                assert beat.said.count("the broker does not answer: no tasks are sent") == 1
            over()
            takes_tasks(client, node, beat)
            assert "Traceback" not in beat.said
            assert "Unrecoverable" not in node.said


@pytest.mark.usefixtures("environment")
def test_nodes_and_beat_follow_the_master_and_show_no_password(tmp_path: Path) -> None:
    with ExitStack() as stack:
        watched = stack.enter_context(watched_servers(tmp_path))
        node, beat = stack.enter_context(maintenance_and_beat(watched.url, tmp_path))
        for change in (watched.fail_over, lambda: watched.lose_master(Signals.SIGKILL)):
            with watched.client() as master:
                takes_tasks(master, node, beat)
            change()
        with watched.client() as master:
            takes_tasks(master, node, beat)
        shown = _inspected(watched.url)
        for planted in (PASSWORD, SENTINELS_PASSWORD):
            assert planted not in node.said + beat.said + shown
        assert "sentinel" in shown


def _inspected(url: str) -> str:
    """What `celery inspect stats` and Flower get from a node."""
    from celery import Celery  # noqa: PLC0415 - as late as in a producer

    with Celery("test", set_as_current=False) as app:
        app.conf.update(celery_settings(url))
        return str(app.control.inspect(timeout=5).stats())
