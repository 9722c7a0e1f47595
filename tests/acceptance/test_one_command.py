"""A whole engine in one command, as the unit for a small server starts it: `python -m workers api deliver ...`."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.acceptance.test_workers import Node, eventually, states
from tests.behaviours import final
from tests.dead_ports import refusing_port
from tests.deploy_files import on_this_machine, units
from tests.factories import MESSAGE, RECEIVED, make_webhook
from tests.forked import Forked
from tests.process_table import alive, descendants
from tests.receiver import Receiver
from workers.celery_app import make_celery
from workers.forking import BETWEEN_STARTS

pytestmark = pytest.mark.node

NODES = {f"{name}@{socket.gethostname()}" for name in ("deliver", "upkeep")}
PROCESSES = ("api", "deliver", "maintenance", "beat")
WAIT = "starts_again_in_s"
OWN_MEGABYTES = 40  # of a main process; it has some 110, shared included


class Together(Node):
    """The command, its log, and where its API listens. `anew`: a Python of its own, which loads everything itself."""

    def __init__(
        self, folder: Path, *, port: int | None = None, anew: bool = False, adopts: bool = False, **more: str
    ) -> None:
        self._port, self._whole_log = port or refusing_port(), folder / "log"
        ports = {"api": self._port, "deliver": refusing_port(), "upkeep": refusing_port()}
        words = on_this_machine(units()["engine"].command, folder, ports)
        environment = {**os.environ, **more}
        with self._whole_log.open("wb") as output:
            if anew:
                process: subprocess.Popen[bytes] | Forked = subprocess.Popen(
                    words,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=folder,
                    start_new_session=True,
                    preexec_fn=_adopt if adopts else None,  # noqa: PLW1509 - nothing else runs in this process
                )
            else:
                module = words[words.index("-m") + 1 :]
                process = Forked(module, environment, stdout=output.fileno(), folder=folder)
        super().__init__(process, self._whole_log)

    def pid(self, name: str) -> int:
        """Of the main process of this name that was started last."""
        lines = [json.loads(line) for line in self._whole_log.read_text().splitlines() if '"process started"' in line]
        found: int = [line["pid"] for line in lines if line["process"] == name][-1]
        return found

    def main(self, name: str) -> psutil.Process:
        return psutil.Process(self.pid(name))

    def is_ready(self) -> bool:
        """Its API finds everything in order, and its nodes take tasks."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=10) as answer:
                ready = answer.status == 200
        except OSError:
            return False
        return ready and self._whole_log.read_text().count(" ready.") >= len(NODES)


def _adopt() -> None:
    """This process gets the children of those below it that die, like the first one of a container."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER


@pytest.fixture(scope="module")
def kept() -> Iterator[list[Together]]:
    """The one that stays for the next test: a start takes seconds."""
    running: list[Together] = []
    yield running
    end(running)


def end(running: list[Together]) -> None:
    for one in running:
        one.process.kill()
        one.process.wait(20)


@pytest.fixture
def together(settings: Settings, kept: list[Together], tmp_path: Path) -> Together:
    if not kept or kept[0].process.poll() is not None:
        kept[:] = [Together(tmp_path)]
        eventually(kept[0].is_ready, kept[0], 60)
    kept[0].begin_test()
    return kept[0]


@pytest.fixture
def anew(settings: Settings, kept: list[Together], tmp_path: Path) -> Together:
    """One that shares nothing with this process's; others may use it afterwards."""
    end(kept)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(f"\0{tmp_path.name}")
        systemd.settimeout(60)
        kept[:] = [Together(tmp_path, anew=True, NOTIFY_SOCKET=f"@{tmp_path.name}")]
        told = {systemd.recv(100) for _ in range(2)}
        eventually(kept[0].is_ready, kept[0], 60)
    assert told == {b"WATCHDOG=1", b"READY=1"}
    return kept[0]


def pings(settings: Settings) -> set[str]:
    """The nodes that answer as Celery workers do."""
    answers: list[dict[str, Any]] = make_celery(settings).control.ping(timeout=2.0)
    return {node for answer in answers for node in answer}


def test_it_is_the_whole_engine_and_its_processes_share_what_is_loaded(
    database: Engine, settings: Settings, receiver: Receiver, anew: Together
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(1, timeout=30)
    eventually(lambda: states(database) == ["delivered"], anew)
    eventually(lambda: pings(settings) == NODES, anew)
    mains = [anew.main(name) for name in PROCESSES]
    assert {main.ppid() for main in mains} == {anew.process.pid}
    assert [len(main.children()) for main in mains] == [0, 2, 3, 0]
    for main in mains:
        memory = main.memory_full_info()
        assert memory.uss < OWN_MEGABYTES * 1_000_000 < memory.rss / 2, main


def test_a_process_that_is_killed_is_started_again_and_the_others_go_on(
    database: Engine, settings: Settings, receiver: Receiver, together: Together
) -> None:
    before = {name: together.pid(name) for name in PROCESSES}
    children = together.main("deliver").children()
    together.main("deliver").kill()
    eventually(lambda: f"deliver@{socket.gethostname()} ready." in together.said, together)
    (line,) = together.lines("process ended by itself")
    assert (line["process"], line["status"]) == ("deliver", -signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=20)[1] == [], "children outlived their main process"
    assert [name for name in PROCESSES if together.pid(name) != before[name]] == ["deliver"]
    assert all(together.main(name).is_running() for name in PROCESSES)
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: states(database) == ["delivered"], together)


def test_a_node_that_is_shut_down_through_celery_is_started_again_too(settings: Settings, together: Together) -> None:
    eventually(lambda: pings(settings) == NODES, together)
    before = together.pid("maintenance")
    make_celery(settings).control.shutdown(destination=[f"upkeep@{socket.gethostname()}"])
    eventually(lambda: together.pid("maintenance") != before, together)
    (line,) = together.lines("process ended by itself")
    assert (line["process"], line["status"]) == ("maintenance", 0)
    eventually(lambda: pings(settings) == NODES, together)


def test_one_that_ends_again_and_again_is_started_every_5_seconds_and_a_stop_does_not_wait_for_it(
    together: Together,
) -> None:
    for _ in range(2):  # the first time it may have run for longer
        before = together.pid("beat")
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: together.pid("beat") != before, together)  # type: ignore[misc]
    assert BETWEEN_STARTS - 2 < together.lines("process ended by itself")[-1][WAIT] <= BETWEEN_STARTS
    tree = descendants(together.process.pid)
    together.process.terminate()
    assert together.process.wait(30) == 0
    assert alive(tree) == []


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(lambda main: os.kill(main, signal.SIGTERM), id="SIGTERM"),
        pytest.param(lambda main: os.killpg(main, signal.SIGINT), id="Ctrl-C, which all of them get"),
    ],
)
def test_a_stop_ends_all_of_them_after_what_is_in_flight(
    database: Engine, settings: Settings, receiver: Receiver, together: Together, stop: Callable[[int], None]
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(1, timeout=30)
    tree = descendants(together.process.pid)
    stop(together.process.pid)
    eventually(lambda: "Warm shutdown" in together.said, together)
    gate.open()
    assert together.process.wait(30) == 0
    assert (states(database), alive(tree)) == (["delivered"], [])
    assert "Traceback" not in together.said


def test_what_a_killed_process_leaves_in_a_container_ends_nothing_else(
    database: Engine, settings: Settings, tmp_path: Path
) -> None:
    together = Together(tmp_path, anew=True, adopts=True)
    try:
        eventually(together.is_ready, together, 60)
        together.main("deliver").kill()
        eventually(lambda: together.said.count(f"deliver@{socket.gethostname()} ready.") == 2, together, 60)
        together.process.terminate()
        assert together.process.wait(60) == 0
    finally:
        together.process.kill()
        together.process.wait(20)


def test_if_its_first_process_is_killed_nothing_is_left(together: Together) -> None:
    tree = descendants(together.process.pid)
    assert len(tree) == 9
    together.process.kill()
    together.process.wait(20)
    assert psutil.wait_procs(tree, timeout=20)[1] == []


def test_if_one_cannot_begin_all_of_them_end_with_its_status(
    database: Engine, settings: Settings, tmp_path: Path
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    other_key = "bm90IGEga2V5IG9mIHRoaXMgZGF0YWJhc2UuLi4uLi4="
    refused = Together(tmp_path, DISPATCHER_ENCRYPTION_KEYS=other_key)
    try:
        assert refused.process.wait(30) == 1
    finally:
        refused.process.kill()
    assert "add the key that it was encrypted with" in refused.said
    assert "Traceback" not in refused.said
