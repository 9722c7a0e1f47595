"""A whole engine as a user starts it: `dispatcher up`."""

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from dotenv import dotenv_values

from dispatcher.egress.address_policy import ANY_ADDRESS, DEVELOPMENT_MODE
from dispatcher.embedded.up import API_PORT
from tests.certificates import new_authority
from tests.dead_ports import refusing_port
from tests.dialects import curl
from tests.forked import Forked, run
from tests.integration.docs.blocks import example
from tests.integration.docs.terminal import Program, Result, Shell
from tests.process_table import alive, command_lines, descendants, eventually, listening_addresses
from tests.receiver import Receiver

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("usual_ports_taken")]

DISPATCHER = (sys.executable, "-P", "-m", "dispatcher")
READY = "The engine is running."
BEAT_ALONE = """
from dispatcher.cli import main
from dispatcher.embedded import up

children = up._engine_children
up._engine_children = lambda *about: [child for child in children(*about) if child.name == "beat"]
up._flower = lambda directory, environment, *_: up._python(
    "idle", directory, environment, "http.server", "0", "--bind", "127.0.0.1"
)
main()
"""
NOISE = 5.0  # added to promised times: the machine that runs the tests is busy


class Engine:
    """A running `dispatcher up` and its output so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", said: Path, data_dir: Path) -> None:
        self.process, self._said, self.data_dir = process, said, data_dir

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def address(self, name: str) -> str:
        found = re.search(rf"^  {name} +(http://127\.0\.0\.1:\d+)", self.said, re.MULTILINE)
        assert found, self.said
        return found[1]

    def cli(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return run_cli(*words, data_dir=self.data_dir)


def environment(data_dir: Path) -> dict[str, str]:
    ours = {"DATABASE_URL", "BROKER_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in ours and "DISPATCHER" not in name}
    return {**kept, "DISPATCHER_DATA_DIR": str(data_dir), "COLUMNS": "200"}


def run_cli(*words: str, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    return run("dispatcher", *words, environment=environment(data_dir))


@contextmanager
def terminal(shown: Path) -> Iterator[int]:
    """A terminal to give to a process. What is written to it goes to the file, without control sequences."""
    ours, theirs = os.openpty()

    def copy() -> None:
        with shown.open("w") as file, suppress(OSError):  # at the end, when no process has it any more
            while chunk := os.read(ours, 65536):
                file.write(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", chunk.decode(errors="replace")))
                file.flush()
        os.close(ours)

    copying = threading.Thread(target=copy)
    copying.start()
    try:
        yield theirs
    finally:
        os.close(theirs)


@contextmanager
def up(
    data_dir: Path,
    said: Path,
    *options: str,
    program: Sequence[str] = DISPATCHER,
    cwd: Path | None = None,
    at_terminal: bool = False,
    **more: str,
) -> Iterator[Engine]:
    with terminal(said) if at_terminal else said.open("wb") as output:
        process = subprocess.Popen(
            [*program, "up", "--concurrency", "1", *options],
            env={**environment(data_dir), **more},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=cwd,
        )
    engine = Engine(process, said, data_dir)
    try:
        assert eventually(lambda: READY in engine.said or process.poll() is not None, within=120), engine.said
        assert process.poll() is None, engine.said
        yield engine
    finally:
        process.kill()  # its children end with it
        process.wait()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that all tests may look at. Its end is a test as well: a killed engine leaves nothing running."""
    directory = tmp_path_factory.mktemp("engine")
    new_authority(directory)
    run_sh, *words = shlex.split(example("README.md", "up"))
    assert (run_sh, words[0]) == ("./run.sh", "up")
    trusted = {"DISPATCHER_CA_BUNDLE": "authority.pem"}
    with up(directory / "data", directory / "said", *words[1:], cwd=directory, **trusted) as running:
        yield running
        tree = descendants(running.process.pid)
        assert len(tree) > 10  # PostgreSQL's and Celery's own children are among them
        running.process.kill()
        running.process.wait()
        assert eventually(lambda: not alive(tree)), alive(tree)


@dataclass(frozen=True, slots=True)
class Ended:
    """An engine that has ended: its output while it ran and at its end, how long the end took, and what it left."""

    engine: Engine
    running: str
    said: str
    status: int
    seconds: float
    left: list[psutil.Process]


def end(engine: Engine, how: Callable[[list[psutil.Process]], None]) -> Ended:
    running, tree, began = engine.said, descendants(engine.process.pid), time.monotonic()
    how(tree)
    status = engine.process.wait(timeout=60)
    return Ended(engine, running, engine.said, status, time.monotonic() - began, alive(tree))


@dataclass(frozen=True, slots=True)
class Commands:
    """What the README's five commands did, the first of which started the engine."""

    sent: str  # what those of the third terminal printed
    deliveries: list[dict[str, object]]
    callbacks: str  # what the second terminal showed


@pytest.fixture(scope="module")
def commands(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    folder = tmp_path_factory.mktemp("terminals")
    program, *listen = shlex.split(example("README.md", "listen"))
    assert program == "dispatcher"
    ours = environment(engine.data_dir)
    with (folder / "shown").open("wb") as shown:
        listener = Forked(("dispatcher", *listen), ours, stdout=shown.fileno())
    try:
        assert eventually(lambda: "Listening on " in (folder / "shown").read_text())
        programs = {"dispatcher": _dispatcher(ours), "curl": _curl}
        with chdir(folder), Shell(programs, folder) as shell:
            sent = shell.run(example("README.md", "send"))
        assert sent.status == 0, sent
        assert eventually(lambda: (folder / "shown").read_text().count("  signature ") == 2)
        listener.send_signal(signal.SIGINT)
        listener.wait(20)
    finally:
        listener.kill()
    deliveries = json.loads(engine.cli("delivery", "list", "--account", "acme", "--json").stdout)
    return Commands(sent.out, deliveries, (folder / "shown").read_text())


def _dispatcher(ours: dict[str, str]) -> Program:
    def call(words: list[str], given: bytes) -> Result:
        ran = run("dispatcher", *words, environment=ours, given=given)
        return Result(ran.returncode, ran.stdout, ran.stderr)

    return call


def _curl(words: list[str], _given: bytes) -> Result:
    status, said = curl.call(words)
    return Result(0 if status < 400 else 22, said)


def test_the_five_commands_of_the_readme_end_in_callbacks_that_are_seen_and_delivered(commands: Commands) -> None:
    event, *_, over_http = commands.sent.strip().splitlines()
    assert any(" message.inbound.received " in line for line in commands.sent.splitlines()[1:])
    assert json.loads(over_http)["deliveries"] == 1
    *before, sample, own, removed = commands.callbacks.splitlines()
    assert before[0] == "account acme created"
    for line, event_id, body in (
        (sample, event.split()[1].rstrip(":"), "RECEIVED"),
        (own, json.loads(over_http)["event_id"], '[{"id":"7","body":"Yes"}]'),
    ):
        assert f"message.inbound.received  event {event_id}  attempt 1  signature good  " in line
        assert body in line
    assert removed.endswith(" is removed")
    assert [delivery["state"] for delivery in commands.deliveries] == ["delivered", "delivered"]


@dataclass(frozen=True, slots=True)
class Lives:
    """Two lives of an engine. The first one had, of its own processes, only beat, because loading the others takes
    seconds. It was in development mode; an account, a webhook and two events were made, then beat and PostgreSQL were
    killed, and started again by the tree. The second one was whole, at a terminal, with requested ports and without its
    egress policy. It made the deliveries, and was ended by Ctrl-C."""

    first: Ended
    allowed: dict[str, str | None]  # what other shells read in the first
    second: Ended
    api_port: int
    accounts: str
    lines: dict[str, str | None]  # of its connection file
    log: Path


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Lives:
    folder = tmp_path_factory.mktemp("two-lives")
    data, ports = folder / "data", (refusing_port(), refusing_port())
    with Receiver() as receiver:
        with up(data, folder / "first", "--dev", program=(sys.executable, "-P", "-c", BEAT_ALONE)) as running:
            allowed = dotenv_values(data / "engine.env")
            url = receiver.url("/hook")
            for words in (
                ("account", "create", "acme"),
                ("webhook", "create", "--account", "acme", "--type", "*", "--url", url),
                *[("trigger", "message.inbound.received", "--account", "acme")] * 2,
            ):
                assert running.cli(*words).returncode == 0
            tree = descendants(running.process.pid)
            for name in ("beat", "-D"):
                _find(tree, name).kill()
            again = "beat is ready again.", "postgres is ready again."
            assert eventually(lambda: all(line in running.said for line in again), within=30), running.said
            first = end(running, lambda _: running.process.terminate())
        asked = "--api-port", str(ports[0]), "--flower-port", str(ports[1])
        unsafe = {"DISPATCHER_UNSAFE_ALLOW_ANY_ADDRESS": "true", "TERM": "xterm"}
        with up(data, folder / "second", *asked, at_terminal=True, **unsafe) as running:
            assert eventually(lambda: "  Deliveries  2 delivered" in running.said, within=20), running.said
            accounts = running.cli("account", "list").stdout
            lines = dotenv_values(data / "engine.env")
            second = end(running, lambda _: running.process.send_signal(signal.SIGINT))
    return Lives(first, allowed, second, ports[0], accounts, lines, data / "engine.log")


def test_development_mode_is_loud_known_to_other_shells_and_gone_with_the_next_start(lives: Lives) -> None:
    assert f"\nWARNING: {DEVELOPMENT_MODE}.\n" in lives.first.running
    assert lives.allowed["DISPATCHER_ALLOWED_NETWORKS"] == "127.0.0.0/8,::1"
    assert "DISPATCHER_ALLOWED_NETWORKS" not in lives.lines
    assert DEVELOPMENT_MODE not in lives.second.running


def test_an_engine_without_its_egress_policy_warns_of_it_in_every_process(engine: Engine, lives: Lives) -> None:
    assert f"WARNING: {ANY_ADDRESS}." in " ".join(lives.second.running.split())
    warned = {line.partition("|")[0].strip() for line in lives.log.read_text().splitlines() if ANY_ADDRESS in line}
    assert {"api", "deliver", "upkeep"} <= warned, warned
    assert ANY_ADDRESS not in engine.said


def test_at_a_terminal_it_is_one_calm_screen_and_the_lines_are_in_a_file_that_it_names(lives: Lives) -> None:
    running = lives.second.running
    for shown in (
        "  Ready       postgres, valkey, ",
        f"  API         http://127.0.0.1:{lives.api_port}",
        f"  Console     http://127.0.0.1:{lives.api_port}/console",
        "  Sign in     to the console: `dispatcher console-link` prints a link",
        "  Password    of Flower's user dispatcher: `dispatcher engine --flower-password`",
        f"  Log         {lives.log}",
        "  Events      2",
        "  Deliveries  2 delivered",
    ):
        assert shown in running
    assert "worker ready" not in running
    assert "worker ready" in lives.log.read_text()
    assert lives.log.stat().st_mode & 0o777 == 0o600


def test_everything_listens_on_the_loopback_address_only(engine: Engine) -> None:
    found = listening_addresses(engine.process.pid)

    assert {address for address, _ in found} == {"127.0.0.1"}
    assert len(found) == 4  # PostgreSQL, Valkey, API, Flower


def test_the_secrets_are_in_one_file_for_the_owner_alone_and_on_no_command_line(engine: Engine) -> None:
    path = engine.data_dir / "engine.env"
    lines = dotenv_values(path)
    passwords = [re.search(r":([^:@/]{20,})@", lines[name] or "") for name in ("DATABASE_URL", "BROKER_URL")]
    secrets = [found[1] for found in passwords if found]
    secrets += [lines["DISPATCHER_ENCRYPTION_KEYS"] or "", lines["DISPATCHER_FLOWER_PASSWORD"] or ""]

    assert path.stat().st_mode & 0o777 == 0o600
    assert engine.data_dir.stat().st_mode & 0o777 == 0o700
    assert len([secret for secret in secrets if len(secret) >= 20]) == 4
    for secret in secrets:
        assert secret not in command_lines()
        assert secret not in engine.said


def test_the_api_answers_and_flower_wants_its_password(engine: Engine) -> None:
    flower = engine.address("Flower")
    password = dotenv_values(engine.data_dir / "engine.env")["DISPATCHER_FLOWER_PASSWORD"]
    login = base64.b64encode(f"dispatcher:{password}".encode()).decode()

    assert _status(engine.address("API") + "/readyz") == 200
    assert _status(f"{flower}/api/workers") == 401
    assert _status(f"{flower}/workers") == 401
    assert _status(f"{flower}/workers", login) == 200

    def workers() -> set[str]:
        return {name.partition("@")[0] for name in json.loads(_body(f"{flower}/api/workers", login))}

    assert eventually(lambda: workers() == {"deliver", "upkeep"})


def test_the_command_line_in_another_terminal_finds_the_engine(engine: Engine) -> None:
    created = engine.cli("account", "create", "globex")

    assert created.returncode == 0, created.stderr
    assert "globex" in engine.cli("account", "list").stdout


def test_a_second_engine_on_the_same_data_is_refused_with_the_holders_number(engine: Engine) -> None:
    refused = engine.cli("up")

    assert refused.returncode == 1
    assert f"is in use by process {engine.process.pid}: stop that engine" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_that_was_asked_for_and_is_taken_gets_a_sentence(engine: Engine, tmp_path: Path) -> None:
    port = engine.address("API").rpartition(":")[2]

    refused = run_cli("up", "--temporary", "--api-port", port, data_dir=tmp_path / "other")

    assert refused.returncode == 1
    assert f"port {port}, requested for the API, is used by another program: choose another port" in refused.stderr


def test_a_trust_store_that_does_not_exist_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    given = {**environment(tmp_path / "data"), "DISPATCHER_CA_BUNDLE": "trusted.pem"}
    refused = run("dispatcher", "up", "--temporary", environment=given, folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "DISPATCHER_CA_BUNDLE names a file that cannot be read: No such file" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_server_that_does_not_answer_is_named_before_anything_is_started(tmp_path: Path) -> None:
    port = refusing_port()
    given = {**environment(tmp_path / "data"), "BROKER_URL": f"redis://:planted@127.0.0.1:{port}/0"}
    refused = run("dispatcher", "up", environment=given)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: the broker (BROKER_URL) does not answer: Connection refused. The address is 127.0.0.1:{port}: "
        "start it there, correct BROKER_URL, or unset it to let `up` start one here\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_trust_store_is_found_from_the_folder_where_the_engine_was_started(engine: Engine) -> None:
    api = _find(descendants(engine.process.pid), "dispatcher.web")
    started_in = engine.data_dir.parent
    assert api.cwd() != str(started_in)
    assert api.environ()["DISPATCHER_CA_BUNDLE"] == str(started_in / "authority.pem")
    readiness = json.loads(_body(f"{engine.address('API')}/readyz", ""))
    assert readiness["parts"]["transport"] == {"status": "ok", "detail": None}


def test_where_the_usual_port_is_taken_it_uses_a_free_one_and_says_so(engine: Engine) -> None:
    port = int(engine.address("API").rpartition(":")[2])
    assert port != API_PORT
    assert f"Port {API_PORT} is taken; the API uses {port}." in engine.said


def test_ctrl_c_ends_everything_in_time(lives: Lives) -> None:
    ended = lives.second
    assert ended.status == 0, ended.said
    assert ended.said.endswith(f"Stopped. Data is kept in {ended.engine.data_dir}.\n")
    assert ended.seconds < 5 + NOISE
    assert ended.left == []


def test_the_next_start_finds_the_data_and_uses_the_ports_that_are_asked_for(lives: Lives) -> None:
    assert "acme" in lives.accounts
    assert lives.second.engine.address("API") == f"http://127.0.0.1:{lives.api_port}"


def test_what_has_ended_keeps_its_secrets_and_no_addresses(lives: Lives) -> None:
    assert set(dotenv_values(lives.second.engine.data_dir / "engine.env")) == {
        "DISPATCHER_ENCRYPTION_KEYS",
        "DISPATCHER_FLOWER_PASSWORD",
    }


def test_what_ends_by_itself_is_started_again_and_the_rest_runs_on(lives: Lives) -> None:
    ended = lives.first
    for name in ("beat", "postgres"):
        assert f"{name} was killed by signal 9 by itself; it is started again " in ended.said
    assert ended.status == 0
    assert "Traceback" not in ended.said
    assert ended.left == []


def _find(tree: list[psutil.Process], word: str) -> psutil.Process:
    return next(process for process in tree if word in process.cmdline())


def _status(url: str, login: str = "") -> int:
    try:
        with urllib.request.urlopen(_request(url, login), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def _body(url: str, login: str) -> bytes:
    with urllib.request.urlopen(_request(url, login), timeout=20) as answer:
        return bytes(answer.read())


def _request(url: str, login: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Authorization": f"Basic {login}"} if login else {})
