"""The watchdog of a child: what makes no progress is ended, and its successor learns where it stood."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.watchdog import Watchdog

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_that_makes_no_progress_ends_and_the_next_one_learns_where_it_stood(
    method: str, tmp_path: Path
) -> None:
    """Forked as on Linux, or started anew as on macOS. What keeps the interpreter ends, too."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import re, time
from billiard import get_context, set_start_method
from workers import shared_memory
from workers.watchdog import Watchdog

def go_on():
    watchdog = Watchdog(3)
    with watchdog.watching(0.5):
        for _ in range(12):
            time.sleep(0.1)
            watchdog.progressed()
    time.sleep(1)
    watchdog.progressed()
    time.sleep(1)  # outside of a task nothing is watched

def stop_going_on():
    with Watchdog(3).watching(0.5):
        re.match(r"(a+)+$", "a" * 60 + "b")

def look():
    assert not Watchdog(2).left()
    stood_at = Watchdog(3).left()
    assert "in stop_going_on" in stood_at and "Thread" not in stood_at, stood_at
    assert not Watchdog(3).left()

if __name__ == "__main__":
    set_start_method("{method}", force=True)
    shared_memory.share()
    context = get_context("{method}")
    for work, status in (go_on, 0), (stop_going_on, 1), (look, 0):
        child = context.Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == status, (work, child.exitcode)
    shared_memory.forget()
""")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, script], check=False, timeout=60, env=environment).returncode == 0


def test_without_a_main_process_nothing_is_watched() -> None:
    watchdog = Watchdog(0)
    with watchdog.watching(0.0):
        watchdog.progressed()
    assert watchdog.left() == ""
