"""The measured engine: real worker nodes, started as an operator starts them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals

import psutil

from benchmarks.servers import Servers
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.embedded.spawning.spawn import spawn

CHILDREN = 2
WORKER_NODES = 2  # of one command that has them all
_AS_ROOT_ON_PURPOSE = "ignore:You're running the worker with superuser privileges"


class Node:
    """A running process tree of a contestant."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.pid = process.pid
        self._process, self._log = process, log

    def check(self) -> None:
        """Raises RuntimeError with its last line of output if it has ended."""
        if (status := self._process.poll()) is not None:
            last_line = self.said().strip().rpartition("\n")[2]
            raise RuntimeError(f"{self._log.stem} ended with status {status}: {last_line[:300]}")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait(self) -> int:
        """Waits for its end; returns its status."""
        return self._process.wait()

    def kill(self) -> None:
        """Kills it at once: what is in flight must not delay the next run."""
        tree = [] if self._process.poll() is not None else psutil.Process(self.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            self._process.kill()
        for child in tree:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait()
        psutil.wait_procs(tree, timeout=10)


@contextmanager
def node(servers: Servers, name: str, words: list[str], env: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A program that runs until the block ends; its output goes to a file."""
    log = servers.folder / f"{name}.log"
    with log.open("wb") as output:
        process = spawn(
            words,
            death_signal=Signals.SIGKILL,
            cwd=servers.folder,
            env={**servers.environment, **(env or {})},
            output=output,
        )
    running = Node(process, log)
    try:
        yield running
    finally:
        running.kill()


@contextmanager
def deliver_node(
    servers: Servers, env: Mapping[str, str] | None = None, *, children: int = CHILDREN, name: str = "deliver"
) -> Iterator[Node]:
    words = [*_WORKERS, "deliver", "-c", str(children), "-n", f"{name}@%h"]
    with node(servers, name, words, env) as running:
        yield running


@contextmanager
def maintenance_worker(servers: Servers, env: Mapping[str, str] | None = None) -> Iterator[Node]:
    with node(servers, "upkeep", [*_WORKERS, "maintenance"], env) as running:
        yield running


@contextmanager
def api(servers: Servers, port: int, env: Mapping[str, str] | None = None) -> Iterator[Node]:
    words = [sys.executable, "-P", "-m", "dispatcher.web", "--host", LOOPBACK, "--port", str(port)]
    with node(servers, f"api-{port}", words, env) as running:
        yield running


@contextmanager
def beat(servers: Servers, env: Mapping[str, str] | None = None) -> Iterator[Node]:
    words = [*_WORKERS, "beat", "-s", str(servers.folder / "beat-schedule")]
    with node(servers, "beat", words, env) as running:
        yield running


@contextmanager
def together(servers: Servers, port: int) -> Iterator[Node]:
    """API, deliver node, maintenance worker and beat in one command, as on a small server."""
    api = ["api", "--host", LOOPBACK, "--port", str(port)]
    words = [*_WORKERS, *api, "deliver", "-c", str(CHILDREN), "maintenance", "beat"]
    with node(servers, "engine", words) as running:
        yield running


def started(running: Node) -> dict[str, int]:
    """The main processes that one command has started, by name."""
    lines = [json.loads(line) for line in running.said().splitlines() if '"process started"' in line]
    return {line["process"]: line["pid"] for line in lines}


def wait_until_ready(*commands: Node, nodes: int = 1, within: float = 60) -> None:
    """Waits until workers take tasks: so many nodes of each command. Raises RuntimeError if one does not."""
    deadline = time.monotonic() + within
    for running in commands:
        while running.said().count(" ready.") < nodes:
            running.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"a worker was not ready within {within:.0f} s")
            time.sleep(0.05)


_WORKERS = [sys.executable, "-P", "-W", _AS_ROOT_ON_PURPOSE, "-m", "workers"]
