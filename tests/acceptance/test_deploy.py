"""The command line of every systemd unit, compose service and pod, started as it is in `deploy/`, with its secrets in
files and nowhere else, and asked by its own health checks."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from dispatcher.settings import SECRETS, Settings, environment_name
from tests.conftest import ENCRYPTION_KEY
from tests.dead_ports import refusing_port
from tests.deploy_files import DEPLOY, PORTS, Pod, Service, Unit, compose, on_this_machine, pods, services, units
from tests.deployed import CLEAN, Running
from tests.factories import MESSAGE, RECEIVED, make_webhook
from tests.receiver import Receiver

pytestmark = pytest.mark.engine

FLOWER_PASSWORD = "flower, pass:word"  # with characters at which options on a command line or in a list would be split
TOKEN = "a-token-of-the-tests"
LASTING = ("api", "beat", "deliver", "flower", "upkeep")
LISTENING = ("api", "deliver", "flower", "upkeep")
NODES = ("deliver", "upkeep")
SERVICES, PODS = services(), pods()
# A root that cannot be written, as in a container. $1: the folder of a volume, or nothing; $2: where /tmp is.
_MOUNTS = (
    'mount --make-rprivate /; [ -z "$1" ] || mount --bind "$1" "$1"; mount -t tmpfs tmpfs "$2"; '
    'mount -o remount,bind,ro /; export TMPDIR="$2"; shift 2; exec "$@"'
)
READ_ONLY = ["unshare", "--mount", "sh", "-euc", _MOUNTS, "sh"]
CAN_CONTAIN = (
    shutil.which("unshare") is not None
    and subprocess.run([*READ_ONLY, "", "/tmp", "true"], capture_output=True, check=False).returncode == 0
)


class Deployment:
    """Processes of one way to deploy, with the test suite's servers."""

    def __init__(self, parts: "dict[str, Unit] | dict[str, Service]", state: Path) -> None:
        self._parts, self._state = parts, state
        self.ports = {name: refusing_port() for name in PORTS}
        self.running: dict[str, Running] = {}
        self.secrets = {name: os.environ.get(environment_name(name), "") for name in SECRETS} | {
            "metrics_token": TOKEN,
            "flower_password": FLOWER_PASSWORD,
        }

    def start(self, name: str) -> Running:
        part, folder = self._parts[name], self._state / name
        (folder / "secrets").mkdir(parents=True)
        contained = []
        if isinstance(part, Service) and CAN_CONTAIN:
            (folder / "tmp").mkdir()
            contained = [*READ_ONLY, str(folder) if "volumes" in part.fields else "", str(folder / "tmp")]
            assert part.fields["read_only"]
            assert part.fields["tmpfs"] == ["/tmp"]
        for secret in part.secrets:
            (folder / "secrets" / secret).write_text(self.secrets[secret] + "\n")
        secret_variables = {environment_name(secret) for secret in SECRETS}
        own = dict(zip(part.environment, self.here(list(part.environment.values()), name), strict=True))
        self.running[name] = Running.begin(
            name,
            [*contained, *self.here(part.command, name)],
            {**{key: value for key, value in os.environ.items() if key not in secret_variables}, **own},
            folder,
            part.stop_seconds,
            managed=isinstance(part, Unit),
        )
        return self.running[name]

    def here(self, words: list[str], name: str) -> list[str]:
        return on_this_machine(words, self._state / name, self.ports)

    def get(self, name: str, path: str, *, authorization: str = "", method: str = "GET") -> int:
        """The status that a process answers with; 0 if it does not listen yet."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[name]}{path}", method=method)
        if authorization:
            request.add_header("Authorization", authorization)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def probes_are_well(self, pod: Pod) -> bool:
        """Whether Kubernetes would find it well, by what it asks by HTTP."""
        paths = [probe["httpGet"]["path"] for probe in pod.probes.values() if "httpGet" in probe]
        return bool(paths) and all(self.get(pod.name, path) == 200 for path in paths)

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
            part.kill()


@pytest.fixture
def systemd(settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    engine = Deployment(units(), tmp_path / "systemd")
    try:
        yield engine
    finally:
        engine.kill()


@pytest.fixture
def containers(systemd: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """What listens, as it is started inside a container. All other commands are those of the units, and those of pods
    are the containers', as the tests of the files show."""
    engine = Deployment(SERVICES, tmp_path / "compose")
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
    systemd.running.pop("migrate").systemd.close()
    told: dict[str, set[str]] = {name: set() for name in LASTING}

    def is_told() -> bool:
        for name, running in systemd.running.items():
            told[name] |= running.told()
        return all(told[name] == {"READY=1", "WATCHDOG=1"} for name in LASTING if name != "flower")

    systemd.wait(is_told)
    assert told["flower"] == set()
    for started in (systemd, containers):
        started.wait(lambda started=started: all(started.probes_are_well(PODS[name]) for name in LISTENING))  # type: ignore[misc]
    checked_by = {name: containers if name in LISTENING else systemd for name in LASTING}
    for name, started in checked_by.items():
        for check in SERVICES[name].checks:
            said = subprocess.run(started.here(check, name), capture_output=True, text=True, check=False)
            assert said.returncode == 0, (name, said.stderr)

    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    receiver.wait_for(1, timeout=30)

    for started in (systemd, containers):
        logins = ["", _login("guessed"), _login(FLOWER_PASSWORD)]
        assert [started.get("flower", "/api/tasks", authorization=login) for login in logins] == [401, 401, 200]
        shut_down = f"/api/worker/shutdown/deliver@{socket.gethostname()}"
        assert started.get("flower", shut_down, authorization=logins[-1], method="POST") == 403
        for name in ("api", *NODES):
            shown = [started.get(name, "/metrics", authorization=shows) for shows in ("", f"Bearer {TOKEN}")]
            assert shown == [401, 200], name
    all_running = [*systemd.running.values(), *containers.running.values()]
    visible = [word for part in all_running for word in _command_lines(part)]
    for secret in (FLOWER_PASSWORD, ENCRYPTION_KEY, TOKEN, "test-password"):
        assert not [word for word in visible if secret in word]
    # In containers they listen on the container's address.
    for name in LISTENING:
        assert _listens_on(systemd.running[name]) == {("127.0.0.1", systemd.ports[name])}
        assert _listens_on(containers.running[name]) == {("0.0.0.0", containers.ports[name])}

    children = [child for part in all_running for child in _children(part)]
    for part in all_running:
        part.process.send_signal(signal.SIGTERM)
    ended = [(part, part.process.wait(part.stop_seconds)) for part in all_running]
    assert [(part.process.args, status) for part, status in ended if status not in CLEAN] == []
    assert not psutil.wait_procs(children, timeout=10)[1], "children outlived their main process"
    assert not [part.name for part in all_running if "Traceback" in part.said]
    for part in (systemd.running["beat"], systemd.running["flower"], containers.running["flower"]):
        kept = {"beat": "beat-schedule", "flower": "flower"}[part.name]
        assert [path.name for path in part.folder.iterdir() if path.name.startswith(kept)]


def test_flower_does_not_start_without_a_usable_password(systemd: Deployment) -> None:
    systemd.secrets["flower_password"] = "pässword"
    flower = systemd.start("flower")
    assert flower.process.wait(60) != 0
    assert '"why": "DISPATCHER_FLOWER_PASSWORD must be printable ASCII.' in flower.said
    assert "Traceback" not in flower.said
    assert systemd.get("flower", "/healthcheck") == 0


@pytest.mark.skipif(not CAN_CONTAIN, reason="no right to mount here: containers are tried with a root that is writable")
def test_in_a_container_of_these_tests_the_root_cannot_be_written(tmp_path: Path) -> None:
    written = subprocess.run(
        [*READ_ONLY, "", str(tmp_path), "sh", "-c", 'touch "$TMPDIR/there" && touch /usr/here'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.returncode != 0
    assert "Read-only file system" in written.stderr


class ComposeValkey(EmbeddedValkey):
    """Valkey with its configuration from `deploy/valkey`, except for its address and folder."""

    def _configuration(self) -> str:
        login = self.directory.with_name("valkey_login")
        login.write_text(f'requirepass "{self.password}"\n')
        content = (DEPLOY / "valkey/valkey.conf").read_text()
        for there, here in (("/run/secrets/valkey_login", login), ("dir /data", f"dir {self.directory}")):
            assert content.count(there) == 1
            content = content.replace(there, str(here))
        return f"{content}bind 127.0.0.1\nport {self.port}\nloglevel warning\n"


def test_the_broker_of_compose_asks_for_a_password_and_keeps_what_it_got(tmp_path: Path) -> None:
    *_, flag, user, word, password, command = compose()["services"]["valkey"]["healthcheck"]["test"]
    assert (flag, word, command) == ("--user", "--pass", "ping")
    with ComposeValkey(tmp_path / "valkey", password="0123456789abcdef") as valkey:
        with redis.Redis(port=valkey.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis(port=valkey.port, username=user, password=password) as asks:
            assert asks.ping()
            with pytest.raises(redis.exceptions.NoPermissionError):
                asks.llen("deliver")
        with redis.Redis.from_url(valkey.url) as client:
            client.lpush("deliver", "a wake")
    with (
        ComposeValkey(tmp_path / "valkey", password="0123456789abcdef") as again,
        redis.Redis.from_url(again.url, decode_responses=True) as client,
    ):
        assert client.lrange("deliver", 0, -1) == ["a wake"]
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def _login(password: str) -> str:
    return f"Basic {b64encode(f'dispatcher:{password}'.encode()).decode()}"


def _command_lines(part: Running) -> list[str]:
    return [word for process in (psutil.Process(part.process.pid), *_children(part)) for word in process.cmdline()]


def _children(part: Running) -> list[psutil.Process]:
    return psutil.Process(part.process.pid).children(recursive=True)


def _listens_on(part: Running) -> frozenset[tuple[str, int]]:
    connections = psutil.Process(part.process.pid).net_connections("inet")
    return frozenset((found.laddr.ip, found.laddr.port) for found in connections if found.status == psutil.CONN_LISTEN)
