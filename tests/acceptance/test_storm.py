"""`./run.sh storm`, begun and stopped, and on a small scale. Whole storms are run by .ci/run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.ledgers import Received, Sent, read_lines
from tests.process_table import alive, descendants, eventually

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]


@contextmanager
def storm(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    variables = {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "DISPATCHER_MAX_IN_FLIGHT": "nonsense"}
    with (
        (folder / "progress").open("w") as progress,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.faults", *words],
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
            env={**os.environ, **variables},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()  # its children end with it


def test_a_storm_of_some_seconds_passes_and_shows_what_happened(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with storm(tmp_path, "--minutes", "0.1", "--seed", "5", "--only", "giants", "--keep", str(kept)) as process:
        out, _ = process.communicate(timeout=150)
    progress = (tmp_path / "progress").read_text()
    assert process.returncode == 0, out + progress
    assert out.endswith("PASSED: ./run.sh storm --minutes 0.1 --seed 5 --only giants\n")
    assert " s  giants\n" in progress
    sent, received = list(read_lines(kept / "sent", Sent)), list(read_lines(kept / "received", Received))
    assert f"{len(sent)} steady" in out
    assert len(received) > len(sent) > 50
    assert not list(tmp_path.glob("dispatcher-storm-*"))


def test_ctrl_c_ends_everything_and_removes_the_data(tmp_path: Path) -> None:
    with storm(tmp_path, "--minutes", "5", "--only", "hosts") as process:
        assert eventually(lambda: " of 300 s, poison harmed" in (tmp_path / "progress").read_text(), within=120)
        tree = descendants(process.pid)
        assert len(tree) > 10
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    progress = (tmp_path / "progress").read_text()
    assert (process.returncode, out) == (130, ""), progress
    assert progress.endswith("Stopped. Everything was ended, and the temporary data removed.\n")
    assert alive(tree) == []
    assert not list(tmp_path.glob("dispatcher-storm-*"))
