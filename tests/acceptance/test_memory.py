"""What the processes of the engine load, and what the children of a worker share."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dispatcher.settings import Settings

pytestmark = pytest.mark.node

# A package that is looked for and left out is in the log as well; a module inside it is not.
COMMAND_LINE = {"celery.bin", "click_repl", "prompt_toolkit", "flower", "tornado", "typer", "rich.console", "pygments"}
UNUSED = {*COMMAND_LINE, "yaml.nodes", "cffi.api", "pycparser", "psutil._common", "fastapi", "uvicorn", "alembic"}
WORKS = {"sqlalchemy", "psycopg2", "cryptography.fernet", "dispatcher.installation", "workers.tasks"}
OWN_MEGABYTES = 25  # of a child that has run nothing yet; it has some 80, shared included


def eventually(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def loaded(said: str) -> set[str]:
    """The modules of a log with `-X importtime`, and the packages they are in."""
    names = [line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")]
    return {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}


@pytest.mark.parametrize(
    ("process", "has", "has_not"),
    [
        ("deliver", WORKS, UNUSED),
        ("maintenance", WORKS, UNUSED),
        ("beat", {"schedules.beat", "redis"}, UNUSED | WORKS | {"celery.worker.consumer", "pycurl"}),
    ],
)
def test_a_process_loads_only_what_it_uses(
    settings: Settings, tmp_path: Path, process: str, has: set[str], has_not: set[str]
) -> None:
    log, schedule = tmp_path / "log", tmp_path / "schedule"
    words = ["beat", "-s", str(schedule)] if process == "beat" else [process, "-c", "1"]
    with log.open("wb") as output:
        node = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "workers", *words], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        if process == "beat":
            eventually(lambda: any(tmp_path.glob("schedule*")), node, log)
        else:
            eventually(lambda: " ready." in log.read_text(errors="replace"), node, log)
        node.terminate()
        assert node.wait(60) == 0
    finally:
        node.kill()
    found = loaded(log.read_text(errors="replace"))
    assert has <= found
    assert has_not & found == set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has for itself")
def test_children_share_what_is_loaded_also_one_that_follows_a_dead_one(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        node = subprocess.Popen([sys.executable, "-m", "workers", "deliver"], stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: " ready." in log.read_text(), node, log)
        main = psutil.Process(node.pid)
        first, second = main.children()
        memory = [second.memory_full_info()]  # now: what it shares with the first alone is its own once that has died
        first.kill()
        eventually(lambda: len({child.pid for child in main.children()} - {first.pid}) == 2, node, log)
        follower = next(child for child in main.children() if child.pid not in {first.pid, second.pid})
        memory.append(follower.memory_full_info())
        assert [one.uss < OWN_MEGABYTES * 1_000_000 < one.rss / 2 for one in memory] == [True, True]
    finally:
        node.terminate()
        node.wait(60)
