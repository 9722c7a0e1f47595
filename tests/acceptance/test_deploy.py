"""The command line of every systemd unit and of every compose service, started as it is in `deploy/`."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from dispatcher.settings import Settings
from tests.conftest import ENCRYPTION_KEY
from tests.dead_ports import refusing_port
from tests.deploy_files import Service, Unit, compose, on_this_machine, services, units
from tests.factories import MESSAGE, RECEIVED, make_webhook
from tests.receiver import Receiver

pytestmark = pytest.mark.engine

FLOWER_PASSWORD = "flower, pass:word"  # with characters at which options on a command line or in a list would be split
LASTING = ("api", "beat", "deliver", "flower", "upkeep")
LISTENING = ("api", "flower")
CLEAN = {0, -signal.SIGTERM}  # what systemd accepts as a clean end; uvicorn ends by the signal that it was sent


@dataclass(frozen=True, slots=True)
class Running:
    """A started process of the engine."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    stop_seconds: int

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Deployment:
    """Processes of one way to deploy, with the test suite's servers."""

    def __init__(self, parts: "dict[str, Unit] | dict[str, Service]", state: Path) -> None:
        state.mkdir()
        self._parts, self.state = parts, state
        self.api_port, self.flower_port = refusing_port(), refusing_port()
        self.running: dict[str, Running] = {}

    def start(self, name: str, **more: str) -> Running:
        part, log = self._parts[name], self.state / f"{name}.log"
        words = on_this_machine(part.command, self.state, api_port=self.api_port, flower_port=self.flower_port)
        own = on_this_machine(list(part.environment.values()), self.state, api_port=0, flower_port=0)
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **dict(zip(part.environment, own, strict=True)), **more},
                cwd=self.state,
                start_new_session=True,
            )
        self.running[name] = Running(name, process, log, part.stop_seconds)
        return self.running[name]

    def is_ready(self, name: str) -> bool:
        match name:
            case "deliver" | "upkeep":
                return f"{name}@{socket.gethostname()} ready." in self.running[name].said
            case "beat":
                return bool(list(self.state.glob("beat-schedule*")))  # opened once it can be stopped
            case "flower":
                return self.get("flower", "/healthcheck") == 200
            case _:
                return self.get("api", "/healthz") == 200

    def get(self, name: str, path: str, *, password: str | None = None, method: str = "GET") -> int:
        """The status that the API or Flower answers with; 0 if it does not listen yet."""
        port = self.api_port if name == "api" else self.flower_port
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        if password is not None:
            request.add_header("Authorization", f"Basic {b64encode(f'dispatcher:{password}'.encode()).decode()}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def wait(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for part in self.running.values():
                assert part.process.poll() is None, f"{part.name} ended with {part.process.returncode}:\n{part.said}"
            said = "\n".join(f"--- {part.name}\n{part.said}" for part in self.running.values())
            assert time.monotonic() < deadline, f"did not happen in {seconds} s:\n{said}"
            time.sleep(0.05)

    def kill(self) -> None:
        for part in self.running.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(part.process.pid).children(recursive=True):
                    child.kill()
            part.process.kill()
            part.process.wait(20)


@pytest.fixture
def systemd(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployment]:
    monkeypatch.setenv("DISPATCHER_FLOWER_PASSWORD", FLOWER_PASSWORD)
    engine = Deployment(units(), tmp_path / "systemd")
    try:
        yield engine
    finally:
        engine.kill()


@pytest.fixture
def containers(systemd: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """What listens, as it is started inside a container. All other commands are those of the units, as the test of
    compose.yaml shows."""
    engine = Deployment(services(), tmp_path / "compose")
    try:
        yield engine
    finally:
        engine.kill()


def test_what_is_deployed_starts_delivers_and_stops_cleanly(
    systemd: Deployment, containers: Deployment, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    migrate = systemd.start("migrate")
    for name in LASTING:
        systemd.start(name)
    for name in LISTENING:
        containers.start(name)
    assert migrate.process.wait(60) == 0, migrate.said
    del systemd.running["migrate"]
    for started in (systemd, containers):
        started.wait(lambda started=started: all(started.is_ready(name) for name in started.running))  # type: ignore[misc]

    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(1, timeout=30)

    for started in (systemd, containers):
        assert started.get("api", "/readyz") == 200
        assert [started.get("flower", "/api/tasks", password=word) for word in (None, "guessed", FLOWER_PASSWORD)] == [
            401,
            401,
            200,
        ]
        shut_down = f"/api/worker/shutdown/deliver@{socket.gethostname()}"
        assert started.get("flower", shut_down, password=FLOWER_PASSWORD, method="POST") == 403
    all_running = [*systemd.running.values(), *containers.running.values()]
    visible = [word for part in all_running for word in _command_lines(part)]
    for secret in (FLOWER_PASSWORD, ENCRYPTION_KEY, "test-password"):
        assert not [word for word in visible if secret in word]
    # In containers they listen on the container's address.
    assert {_listens_on(systemd.running[name]) for name in LISTENING} == {
        frozenset({("127.0.0.1", systemd.api_port)}),
        frozenset({("127.0.0.1", systemd.flower_port)}),
    }

    children = [child for part in all_running for child in _children(part)]
    for part in all_running:
        part.process.send_signal(signal.SIGTERM)
    ended = [(part, part.process.wait(part.stop_seconds)) for part in all_running]
    assert [(part.process.args, status) for part, status in ended if status not in CLEAN] == []
    assert not psutil.wait_procs(children, timeout=10)[1], "children outlived their main process"
    assert not [part.name for part in all_running if "Traceback" in part.said]
    for started, files in ((systemd, ("beat-schedule", "flower")), (containers, ("flower",))):
        kept = [path.name for path in started.state.iterdir() if path.suffix != ".log"]
        assert [name for name in files if not any(found.startswith(name) for found in kept)] == []


def test_flower_does_not_start_without_a_usable_password(systemd: Deployment) -> None:
    flower = systemd.start("flower", DISPATCHER_FLOWER_PASSWORD="pässword")
    assert flower.process.wait(60) != 0
    assert '"why": "DISPATCHER_FLOWER_PASSWORD must be printable ASCII"' in flower.said
    assert "Traceback" not in flower.said
    assert systemd.get("flower", "/healthcheck") == 0


class ComposeValkey(EmbeddedValkey):
    """Valkey with its configuration from compose.yaml, except for its address and folder."""

    def _configuration(self) -> str:
        content: str = compose()["configs"]["valkey"]["content"]
        password = "${VALKEY_PASSWORD:?put it into deploy/.env}"
        assert password in content
        return content.replace(password, self.password).replace("/data", str(self.directory)) + (
            f"bind 127.0.0.1\nport {self.port}\nloglevel warning\n"
        )


def test_the_broker_of_compose_asks_for_a_password_and_keeps_what_it_got(tmp_path: Path) -> None:
    with ComposeValkey(tmp_path / "valkey", password="0123456789abcdef") as valkey:
        with redis.Redis(port=valkey.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis.from_url(valkey.url) as client:
            client.lpush("deliver", "a wake")
    with (
        ComposeValkey(tmp_path / "valkey", password="0123456789abcdef") as again,
        redis.Redis.from_url(again.url, decode_responses=True) as client,
    ):
        assert client.lrange("deliver", 0, -1) == ["a wake"]
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def _command_lines(part: Running) -> list[str]:
    return [word for process in (psutil.Process(part.process.pid), *_children(part)) for word in process.cmdline()]


def _children(part: Running) -> list[psutil.Process]:
    return psutil.Process(part.process.pid).children(recursive=True)


def _listens_on(part: Running) -> frozenset[tuple[str, int]]:
    connections = psutil.Process(part.process.pid).net_connections("inet")
    return frozenset((found.laddr.ip, found.laddr.port) for found in connections if found.status == psutil.CONN_LISTEN)
