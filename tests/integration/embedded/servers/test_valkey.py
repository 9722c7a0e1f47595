"""The embedded Valkey, as a real server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from dispatcher.embedded.errors import DataInUse
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from tests.process_table import alive, command_lines, eventually, listening_addresses

PASSWORD = "p'\"\\@/:%ä-hidden"
ROOT = Path(__file__).parents[4]


def valkey_in(directory: Path, password: str = PASSWORD, *, persistent: bool = True) -> EmbeddedValkey:
    return EmbeddedValkey(directory, password=password, persistent=persistent)


def call(url: str, *command: str) -> object:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*command)


@pytest.fixture
def running(tmp_path: Path):
    with valkey_in(tmp_path / "valkey") as server:
        yield server


def test_persistent_data_is_kept_between_runs_even_when_the_password_changes(tmp_path: Path) -> None:
    with valkey_in(tmp_path) as first:
        call(first.url, "SET", "word", "still here")

    with valkey_in(tmp_path, "another") as second:
        assert call(second.url, "GET", "word") == "still here"
        with pytest.raises(redis.AuthenticationError):
            call(second.url.replace("another", "p"), "PING")


def test_without_persistence_nothing_is_written(tmp_path: Path) -> None:
    with valkey_in(tmp_path, persistent=False) as server:
        call(server.url, "SET", "word", "gone")

    assert {path.name for path in tmp_path.iterdir()} == {"server.lock", "server.log"}


def test_data_survives_a_killed_server(tmp_path: Path) -> None:
    with valkey_in(tmp_path) as server:
        call(server.url, "SET", "word", "still here")
        server.process.kill()
        server.process.wait()

    with valkey_in(tmp_path) as again:
        assert call(again.url, "GET", "word") == "still here"


def test_nobody_gets_in_without_the_password(running: EmbeddedValkey) -> None:
    with pytest.raises(redis.AuthenticationError):
        call(f"redis://127.0.0.1:{running.port}/0", "PING")
    with pytest.raises(redis.AuthenticationError):
        call(f"redis://:wrong@127.0.0.1:{running.port}/0", "PING")


def test_it_listens_on_the_loopback_address_only(running: EmbeddedValkey) -> None:
    assert listening_addresses(running.process.pid) == {("127.0.0.1", running.port)}


def test_the_password_is_on_no_command_line_and_in_no_file(running: EmbeddedValkey) -> None:
    assert "-hidden" not in command_lines()
    for path in running.directory.rglob("*"):
        assert not path.is_file() or b"-hidden" not in path.read_bytes(), path


def test_a_second_start_on_the_same_folder_is_refused_and_names_the_holder(running: EmbeddedValkey) -> None:
    with pytest.raises(DataInUse, match=rf"in use by process {os.getpid()}"):
        valkey_in(running.directory).start()


def test_a_port_lost_to_another_program_is_replaced(
    running: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([running.port])
    free = sys.modules["dispatcher.embedded.servers.server"].free_port
    monkeypatch.setattr("dispatcher.embedded.servers.server.free_port", lambda: next(ports, None) or free())

    with valkey_in(tmp_path / "second") as second:
        assert second.port != running.port
        assert call(second.url, "PING") is True


@pytest.mark.parametrize("way", ["the kernel", "a watcher"])
def test_a_killed_owner_takes_the_server_along(tmp_path: Path, way: str) -> None:
    script = (
        "import sys, time; from pathlib import Path; from dispatcher.embedded.spawning import spawn\n"
        "from dispatcher.embedded.servers.valkey import EmbeddedValkey\n"
        "spawn.HAS_DEATH_SIGNAL = spawn.HAS_DEATH_SIGNAL and sys.argv[2] == 'the kernel'\n"
        "server = EmbeddedValkey(Path(sys.argv[1]), password='x', persistent=True).start()\n"
        "print(server.process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path, way], stdout=subprocess.PIPE, cwd=ROOT) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        tree = psutil.Process(owner.pid).children(recursive=True)
        assert len(tree) == (1 if way == "the kernel" and sys.platform == "linux" else 2)
        owner.send_signal(signal.SIGKILL)

    assert eventually(lambda: not alive([server, *tree]))
    with valkey_in(tmp_path, "y") as again:
        assert call(again.url, "PING") is True
