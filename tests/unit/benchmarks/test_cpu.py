"""CPU time of process trees, and the window between two looks."""

import os
import subprocess
import sys

import pytest

from benchmarks.cpu import Look, cpu_seconds, largest_child_mb, look, tree_mb, window

# A child burns CPU and ends; its parent waits for it, says so, and lives on.
_PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.5: pass"], check=True)
print("ended", flush=True)
sys.stdin.read()
"""


def test_a_window_counts_only_what_lies_between_its_looks() -> None:
    first = Look(at=100.0, done=1_000, cpu={"worker": 7.0, "postgres": 3.0})
    last = Look(at=102.0, done=5_000, cpu={"worker": 9.0, "postgres": 3.4})
    assert window(first, last) == {
        "rate": 2_000.0,
        "worker_us": pytest.approx(500.0),
        "postgres_us": pytest.approx(100.0),
    }


def test_a_window_in_which_nothing_was_done_is_refused() -> None:
    one = Look(at=100.0, done=1_000, cpu={})
    with pytest.raises(ValueError, match="nothing was done"):
        window(one, Look(at=101.0, done=1_000, cpu={}))


def test_the_cpu_time_of_a_child_that_has_ended_is_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ended\n"
        assert cpu_seconds(parent.pid) >= 0.45
        before = cpu_seconds(parent.pid)
        found = look({"both": (parent.pid, parent.pid)}, 3)
        after = cpu_seconds(parent.pid)
        assert found.done == 3
        assert 2 * before <= found.cpu["both"] <= 2 * after
        assert largest_child_mb(parent.pid) == 0
        assert largest_child_mb(os.getpid()) > 1
        assert tree_mb(parent.pid) > 1
