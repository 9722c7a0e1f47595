"""Every process, as it is started in earnest, writes JSON: each line of its standard error and output is one object,
whichever library wrote it, from the first one to the last."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.conftest import Servers
from tests.dead_ports import refusing_port
from tests.factories import make_webhook
from tests.receiver import Receiver
from tests.relay import Relay

ROOT = Path(__file__).parents[2]
CELERY = ("celery", "-A", "workers")
FLOWER = ("flower", f"--conf={ROOT / 'deploy' / 'flower' / 'flowerconfig.py'}")
HEAD = {"timestamp", "level", "logger", "event", "process", "pid"}


class Process:
    """A process and all that it writes."""

    def __init__(self, words: tuple[str, ...], environment: dict[str, str], written: int) -> None:
        self._written = written
        # As root, Celery warns of it; warnings of Python's own are shown as well.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-W", "always", "-m", *words],
            stdout=written,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )

    @property
    def said(self) -> str:
        return os.pread(self._written, 10_000_000, 0).decode()

    def wait_for(self, *texts: str, times: int = 1) -> None:
        self.wait_until(lambda: all(self.said.count(text) >= times for text in texts), texts)

    def wait_until(self, condition: Callable[[], object], what: object) -> None:
        deadline = time.monotonic() + 40
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, f"{what} did not come in {self.said}"
            time.sleep(0.05)

    def lines(self) -> list[dict[str, Any]]:
        """Ends it; all that it wrote."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)
        lines = [json.loads(line) for line in self.said.splitlines()]
        assert all(line.keys() >= HEAD for line in lines), lines
        return lines


@contextmanager
def started(*words: str, **environment: str) -> Iterator[Process]:
    with tempfile.TemporaryFile() as written:
        running = Process(words, environment, written.fileno())
        try:
            yield running
        finally:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(running.process.pid).children(recursive=True):
                    child.kill()
            running.process.kill()
            running.process.wait(20)


@pytest.fixture
def relay(servers: Servers) -> Iterator[Relay]:
    port = urlsplit(servers.broker_url).port
    assert port is not None
    with Relay(port) as relay:
        yield relay


@pytest.fixture
def relayed_url(servers: Servers, relay: Relay) -> str:
    return servers.broker_url.replace(f":{urlsplit(servers.broker_url).port}/", f":{relay.port}/")


def names(lines: list[dict[str, Any]]) -> set[str]:
    return {line["process"] for line in lines}


def events(lines: list[dict[str, Any]]) -> set[str]:
    return {line["event"] for line in lines}


@pytest.mark.node
@pytest.mark.parametrize(
    "words",
    [
        ("workers", "deliver", "-c", "1"),
        (*CELERY, "worker", "-Q", "deliver", "-n", "deliver@%h", "-c", "1"),
    ],
    ids=["workers", "celery"],
)
def test_a_deliver_node_through_an_outage_of_its_broker_the_death_of_a_child_and_its_end(
    database: Engine, settings: Settings, receiver: Receiver, relay: Relay, relayed_url: str, words: tuple[str, ...]
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    with started(*words, BROKER_URL=relayed_url, DISPATCHER_LOG_LEVEL="debug") as node:
        node.wait_for(" ready.")
        enqueue("a", 1, account="acme")
        node.wait_for('"delivered"')
        relay.cut()
        node.wait_for("the broker does not answer: tasks wait")
        relay.restore()
        node.wait_for("the broker answers again")
        child, *_ = psutil.Process(node.process.pid).children()
        child.kill()
        node.wait_for("SIGKILL")
        lines = node.lines()
    assert names(lines) - {"worker"} == {"deliver"}  # until Celery has read the name of its node
    with_traceback = [line["event"] for line in lines if line["level"] != "debug" and "exception" in line]
    assert [event for event in with_traceback if "WorkerLostError" not in event] == []
    assert len({line["pid"] for line in lines}) > 1
    assert "worker: Warm shutdown (MainProcess)" in events(lines)


@pytest.mark.node
def test_beat(settings: Settings, relay: Relay, relayed_url: str, broker: "redis.Redis", tmp_path: Path) -> None:
    schedule = ("-s", str(tmp_path / "schedule"))
    environment = {"BROKER_URL": relayed_url, "DISPATCHER_TIME_SCALE": "0.01"}
    for words in (("workers", "beat", *schedule), (*CELERY, "beat", *schedule)):
        relay.restore()
        broker.flushall()
        with started(*words, **environment) as beat:
            beat.wait_for("beat started")
            beat.wait_until(lambda: broker.llen("upkeep"), "a task")
            relay.cut()
            beat.wait_for("no tasks are sent")
            assert names(beat.lines()) == {"beat"}


def test_the_api(database: Engine, settings: Settings) -> None:
    for words in (("dispatcher.web",), ("workers", "api")):
        with started(*words, "--port", "0") as api:
            api.wait_for("running on")
            (line,) = [line for line in api.said.splitlines() if "running on" in line]
            requests.get(json.loads(line)["event"].split()[3] + "/v1/events", timeout=10)
            api.wait_for('"request"')
            lines = api.lines()
        assert names(lines) == {"api"}
        assert any(event.startswith("Started server process") for event in events(lines))


@pytest.mark.node
def test_flower(database: Engine, settings: Settings) -> None:
    port = refusing_port()
    with started(*CELERY, *FLOWER, f"--port={port}", DISPATCHER_FLOWER_PASSWORD="secret") as flower:
        flower.wait_for("Connected to")
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 401
        assert names(flower.lines()) == {"flower"}


@pytest.mark.node
def test_several_processes_of_one_command_each_say_which_they_are(
    database: Engine, settings: Settings, tmp_path: Path
) -> None:
    words = ("api", "--port", "0", "deliver", "-c", "1", "maintenance", "-c", "1", "beat", "-s", str(tmp_path / "b"))
    with started("workers", *words) as command:
        command.wait_for("running on", "deliver@", "upkeep@", "beat started")
        lines = command.lines()
    every = {"api", "deliver", "maintenance", "beat"}
    assert names(lines) == every
    assert {line["process"] for line in lines if line["event"] == "process started"} == every


@pytest.mark.node
def test_a_whole_engine_where_json_is_set(database: Engine, settings: Settings) -> None:
    with started("dispatcher", "up", "--temporary", "--concurrency", "1", DISPATCHER_LOG_FORMAT="json") as up:
        up.wait_for("The engine is running")
        up.process.terminate()
        assert up.process.wait(40) == 0
        lines = [json.loads(line) for line in up.said.splitlines()]
    assert names(lines) == {"up", "migrate", "api", "deliver", "maintenance", "beat"}  # Flower has no errors to tell
    assert lines[-1]["event"].startswith("Stopped.")


def test_an_engine_that_cannot_start_says_why_in_one_line(database: Engine, settings: Settings) -> None:
    wrong = {"DISPATCHER_LOG_FORMAT": "json", "DISPATCHER_CA_BUNDLE": "/nowhere.pem"}
    with started("dispatcher", "up", "--temporary", **wrong) as up:
        assert up.process.wait(40) == 1
        (line,) = up.lines()
    assert (line["process"], line["event"]) == ("up", "failed")
    assert "/nowhere.pem" in line["why"]


def test_migrations(database: Engine, settings: Settings) -> None:
    with started("dispatcher", "migrate") as migrate:
        assert migrate.process.wait(40) == 0
        *_, line = migrate.lines()
        assert (line["process"], line["event"]) == ("migrate", "done"), migrate.said
    with started("dispatcher", "migrate", DATABASE_URL="postgresql://u:planted@127.0.0.1:9/d") as migrate:
        assert migrate.process.wait(40) == 1
        *_, line = migrate.lines()
        assert (line["level"], line["event"]) == ("critical", "failed"), migrate.said
        assert "planted" not in migrate.said


@pytest.mark.parametrize(
    "words",
    [
        ("workers", "deliver"),
        ("workers", "api", "beat"),
        (*CELERY, "worker"),
        (*CELERY, "beat"),
        (*CELERY, *FLOWER),
    ],
    ids=" ".join,
)
def test_a_process_that_cannot_start_says_why_in_one_line(
    environment: dict[str, str], database: Engine, words: tuple[str, ...]
) -> None:
    with started(*words, DATABASE_URL="", DISPATCHER_LOG_LEVEL="wrong") as process:
        assert process.process.wait(40) == 1
        (line,) = process.lines()
    assert (line["level"], line["event"]) == ("critical", "cannot start")
    assert "DATABASE_URL" in line["why"]
    assert "DISPATCHER_LOG_LEVEL" in line["why"]


@pytest.mark.node
def test_a_worker_that_is_not_fit_says_why_in_one_line(database: Engine, settings: Settings) -> None:
    with started("workers", "deliver", DISPATCHER_CA_BUNDLE="/nowhere.pem") as node:
        assert node.process.wait(40) == 1
        assert "/nowhere.pem" in node.lines()[-1]["why"]


def test_what_nobody_catches_is_one_line_without_the_values_of_its_text() -> None:
    program = """
import sys, threading, warnings
from dispatcher.logs.process import begin_process
begin_process("a process")
class Leaves:
    def __del__(self): raise ValueError("planted")
def fails(): raise ValueError("planted")
thread = threading.Thread(target=fails, name="one")
thread.start(); thread.join()
del (leaves := [Leaves()])[:]
warnings.warn("a warning")
print("printed\\nby a library"); print("told", file=sys.stderr)
import nowhere
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert (ran.returncode, ran.stdout, "planted" in ran.stderr) == (1, "", False)
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("uncaught exception in a thread", "ValueError"),
        ("exception where none can be raised", "ValueError"),
        ("<string>:11: UserWarning: a warning", None),
        ("printed\nby a library", None),
        ("told", None),
        ("uncaught exception", "ModuleNotFoundError: No module named 'nowhere'"),
    ]
    assert all("in fails" in line["exception"] for line in lines[:1])
