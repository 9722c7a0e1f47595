"""The process tree, with small real programs as children."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from dispatcher.embedded import process_tree
from dispatcher.embedded.errors import ChildDied, StartFailed
from dispatcher.embedded.process_tree import Child, ProcessTree, StopRequested
from dispatcher.embedded.readiness import Check, answers
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from dispatcher.embedded.spawning.spawn import inherited
from tests.dead_ports import refusing_port
from tests.process_table import alive, descendants, eventually

ROOT = Path(__file__).parents[3]
SLEEPS = "import time; time.sleep(600)"
# Does not listen to any wish, like a worker in the middle of its work.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
LISTENS = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


def python(name: str, script: str, *arguments: object, **more: object) -> Child:
    argv = (sys.executable, "-u", "-c", script, *(str(argument) for argument in arguments))
    return Child(name, argv, inherited({}), **more)  # type: ignore[arg-type]


def listening(port: int) -> Check:
    """Something accepts connections on the port of 127.0.0.1."""

    def check() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return check


def run_tree(stream: io.StringIO, *children: Child) -> None:
    with ProcessTree(stream=stream) as tree:
        tree.start(*children)
        tree.run()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(descendants(os.getpid()))
    yield
    new = alive(set(descendants(os.getpid())) - before)
    assert [process for process in new if not is_a_child_of(before, process)] == []


def is_a_child_of(parents: set[psutil.Process], process: psutil.Process) -> bool:
    """As the workers (autovacuum) are that the suite's own PostgreSQL starts when it likes."""
    try:
        return process.ppid() in {parent.pid for parent in parents}
    except psutil.NoSuchProcess:
        return True  # it has gone meanwhile, as it should


def test_start_returns_when_every_child_is_ready(stream: io.StringIO) -> None:
    first, second = refusing_port(), refusing_port()
    with ProcessTree(stream=stream) as tree:
        tree.start(
            python("one", LISTENS, first, ready=listening(first)),
            python("two", LISTENS, second, ready=listening(second)),
        )
        for port in (first, second):
            socket.create_connection(("127.0.0.1", port)).close()


def test_an_http_check_wants_a_200(tmp_path: Path) -> None:
    port = refusing_port()
    with ProcessTree(stream=io.StringIO()) as tree:
        argv = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port))
        tree.start(Child("web", argv, inherited({}), answers(port, "/")))
        assert not answers(port, "/missing")()
    assert not answers(port, "/")()


def test_output_carries_the_childs_name(stream: io.StringIO) -> None:
    with ProcessTree(stream=stream) as tree:
        tree.finish(python("talker", "import sys; print('said'); print('complained', file=sys.stderr)"))
    assert "talker   | said\n" in stream.getvalue()
    assert "talker   | complained\n" in stream.getvalue()


def test_a_child_that_dies_stops_the_rest_and_is_named_with_its_status(stream: io.StringIO) -> None:
    doomed = python("doomed", "import sys; print('ah'); sys.exit(3)")
    with pytest.raises(ChildDied, match=r"^doomed ended with exit status 3 by itself; everything else was stopped$"):
        run_tree(stream, python("bystander", SLEEPS), doomed)
    assert "doomed   | ah\n" in stream.getvalue()


def test_a_killed_child_is_named_with_its_signal(stream: io.StringIO) -> None:
    suicide = "import os, time; time.sleep(0.2); os.kill(os.getpid(), 9)"
    with pytest.raises(ChildDied, match="doomed was killed by signal 9 by itself"):
        run_tree(stream, python("doomed", suicide))


def test_what_a_dead_child_leaves_in_its_group_goes_too(stream: io.StringIO) -> None:
    leaves = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid); sys.exit(1)"
    with pytest.raises(ChildDied, match="parent"):
        run_tree(stream, python("parent", leaves, SLEEPS))
    found = re.search(r"parent +\| (\d+)\n", stream.getvalue())
    assert found
    assert eventually(lambda: not is_running(int(found[1])))


def test_a_child_that_is_not_ready_in_time_is_named(stream: io.StringIO) -> None:
    with pytest.raises(StartFailed, match="slow did not start: it was not ready in time"):
        run_tree(stream, python("slow", SLEEPS, ready=lambda: False, ready_within=0.3))


def test_a_step_that_fails_is_named(stream: io.StringIO) -> None:
    with (
        ProcessTree(stream=stream) as tree,
        pytest.raises(StartFailed, match="step did not start: it ended with status 4"),
    ):
        tree.finish(python("step", "raise SystemExit(4)"))


def test_a_program_that_does_not_exist_is_named(stream: io.StringIO) -> None:
    with pytest.raises(StartFailed, match="ghost did not start: /nowhere/ghost: No such file"):
        run_tree(stream, Child("ghost", ("/nowhere/ghost",), {}))


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_wish_to_stop_ends_everything_even_what_does_not_listen(stream: io.StringIO, wish: signal.Signals) -> None:
    began = time.monotonic()
    with ProcessTree(stream=stream) as tree:
        tree.start(python("one", SLEEPS), python("deaf", STUBBORN, ready=lambda: "deaf" in stream.getvalue()))
        threading.Timer(0.3, os.kill, (os.getpid(), wish)).start()
        tree.run()
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_a_wish_to_stop_while_starting_ends_the_start(stream: io.StringIO) -> None:
    began = python("slow", "print('began', flush=True); " + SLEEPS, ready=lambda: _ask_to_stop(stream))
    with pytest.raises(StopRequested):
        run_tree(stream, began)


def test_the_servers_end_after_what_works_on_them(stream: io.StringIO, tmp_path: Path) -> None:
    last_words = (
        "import signal, socket, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(0.5)\n"
        "    socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close(); print('server was there'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('ready'); time.sleep(600)"
    )
    with ProcessTree(stream=stream) as tree:
        server = tree.serve("valkey", lambda out: EmbeddedValkey(tmp_path, password="x", output=out))
        tree.start(python("user", last_words, server.port, ready=lambda: "ready" in stream.getvalue()))
    assert "user     | server was there\n" in stream.getvalue()
    assert server.process.returncode == 0


def test_a_server_that_dies_stops_the_rest(stream: io.StringIO, tmp_path: Path) -> None:
    with ProcessTree(stream=stream) as tree:
        server = tree.serve("valkey", lambda out: EmbeddedValkey(tmp_path, password="x", output=out))
        tree.start(python("one", SLEEPS))
        server.process.kill()
        with pytest.raises(ChildDied, match="valkey was killed by signal 9"):
            tree.run()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "BETWEEN_STARTS", 0.3)


@pytest.mark.usefixtures("soon")
def test_a_child_that_ends_by_itself_is_started_again_while_the_rest_runs(stream: io.StringIO, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = (
        "import sys, time; open(sys.argv[1], 'a').write('x'); print('begun')\n"
        "time.sleep(1 if len(open(sys.argv[1]).read()) < 3 else 600)\n"  # all have been started by then
        "sys.exit(3)"
    )
    with ProcessTree(stream=stream) as tree:
        tree.start(python("bystander", SLEEPS), python("weak", script, starts, ready=starts.exists))
        bystander = tree._running[0].process.pid
        assert tree.keep_running(until=lambda: stream.getvalue().count("weak     | begun") == 3)
        assert tree._running[0].process.pid == bystander
        tree.keep_running(
            until=lambda: "weak is ready again." in stream.getvalue().rpartition("it is started again")[2]
        )
    assert stream.getvalue().count("weak ended with exit status 3 by itself; it is started again ") == 2


@pytest.mark.usefixtures("soon")
def test_what_a_dead_child_leaves_is_gone_before_it_is_started_again(stream: io.StringIO) -> None:
    leaves = (
        "import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid);"
        " time.sleep(1); sys.exit(1)"
    )
    with ProcessTree(stream=stream) as tree:
        tree.start(python("parent", leaves, SLEEPS))
        tree.keep_running(until=lambda: stream.getvalue().count("it is started again") == 2)
        first = int(re.findall(r"parent +\| (\d+)\n", stream.getvalue())[0])
        assert eventually(lambda: not is_running(first))


@pytest.mark.usefixtures("soon")
def test_a_server_that_ends_by_itself_is_started_again_at_its_address(stream: io.StringIO, tmp_path: Path) -> None:
    with ProcessTree(stream=stream) as tree:
        server = tree.serve("valkey", lambda out: EmbeddedValkey(tmp_path, password="x", output=out))
        url = server.url
        server.process.kill()
        tree.keep_running(until=lambda: "valkey is ready again." in stream.getvalue())
        with redis.Redis.from_url(url) as client:
            assert client.info("server")["process_id"] == server.process.pid
    assert "valkey was killed by signal 9 by itself; it is started again " in stream.getvalue()
    assert server.process.returncode == 0


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("needed", [True, False])
def test_a_server_that_cannot_run_any_more_ends_the_tree_only_if_it_is_needed(
    stream: io.StringIO, tmp_path: Path, needed: bool
) -> None:
    with ProcessTree(stream=stream) as tree:
        server = tree.serve("valkey", lambda out: EmbeddedValkey(tmp_path, password="x", output=out), needed=needed)
        server.process.kill()
        server.process.wait()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", server.port))

            def tried() -> int:
                return stream.getvalue().count("Valkey did not start: ")

            if needed:
                with pytest.raises(StartFailed, match="Valkey did not start: it ended with status 1"):
                    tree.keep_running()
                assert tried() == 2
            else:
                tree.keep_running(until=lambda: tried() == 4)
        if not needed:
            tree.keep_running(until=lambda: "valkey is ready again." in stream.getvalue())


@pytest.mark.usefixtures("soon")
def test_a_wish_to_stop_is_heard_while_a_child_waits_for_its_next_start(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_tree, "BETWEEN_STARTS", 60.0)
    with ProcessTree(stream=stream) as tree:
        tree.start(python("weak", "import time; time.sleep(1)"))

        def until() -> bool:
            if "it is started again in" in stream.getvalue():
                os.kill(os.getpid(), signal.SIGTERM)
            return False

        assert not tree.keep_running(until=until)


def test_a_killed_tree_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from dispatcher.embedded.process_tree import Child, ProcessTree\n"
        "from dispatcher.embedded.servers.valkey import EmbeddedValkey\n"
        "with ProcessTree() as tree:\n"
        "    tree.serve('valkey', lambda out: EmbeddedValkey(Path(sys.argv[1]), password='x', output=out))\n"
        "    tree.start(Child('deaf', (sys.executable, '-c', sys.argv[2]), {}))\n"
        "    tree.say('up'); tree.run()"
    )
    argv = [sys.executable, "-c", script, str(tmp_path), STUBBORN]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as owner:
        assert owner.stdout is not None
        assert any(line == "up\n" for line in owner.stdout)
        tree = descendants(owner.pid)
        assert len(tree) >= 2
        owner.kill()
    assert eventually(lambda: not alive(tree))


def _ask_to_stop(stream: io.StringIO) -> bool:
    if "began" in stream.getvalue():
        os.kill(os.getpid(), signal.SIGTERM)
    return False


def is_running(pid: int) -> bool:
    try:
        return bool(alive([psutil.Process(pid)]))
    except psutil.NoSuchProcess:
        return False
