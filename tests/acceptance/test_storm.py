"""`./run.sh storm` and `./run.sh faults`, begun and stopped. Whole ones are run by .ci/run: in them, what was accepted
outlives the API, its sender and the database."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.ledgers import Ledger, Received, Sent
from tests.process_table import alive, descendants, eventually

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
STORM, FAULTS = "tests.faults", "tests.faults.cases"
MANY = 60  # requests, each event has two


@contextmanager
def started(folder: Path, program: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    variables = {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "DISPATCHER_MAX_IN_FLIGHT": "nonsense"}
    with (
        (folder / "progress").open("w") as progress,
        subprocess.Popen(
            [sys.executable, "-P", "-m", program, *words],
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


def lines(folder: Path, ledger: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob(ledger))


@pytest.mark.parametrize(
    ("program", "words", "shown"),
    [
        (STORM, ("--minutes", "5", "--only", "hosts"), " of 300 s, poison harmed"),
        (FAULTS, ("postgres-killed",), "postgres-killed: under way, "),
    ],
)
def test_ctrl_c_ends_everything_and_removes_the_data_but_what_is_to_be_kept(
    program: str, words: tuple[str, ...], shown: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with started(tmp_path, program, *words, "--keep", str(kept)) as process:
        assert eventually(lambda: shown in (tmp_path / "progress").read_text(), within=120)
        (data,) = tmp_path.glob("dispatcher-storm-*")
        assert eventually(lambda: lines(data, "received") > MANY)
        tree = descendants(process.pid)
        assert len(tree) > 10
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    progress = (tmp_path / "progress").read_text()
    assert (process.returncode, out) == (130, ""), progress
    assert progress.endswith("Stopped. Everything was ended, and the temporary data removed.\n")
    assert alive(tree) == []
    assert not list(tmp_path.glob("dispatcher-storm-*"))
    (ledger,) = kept.rglob("sent")
    sent, received = Ledger(ledger, Sent).read(), Ledger(ledger.parent / "received", Received).read()
    assert len(received) > len([one for one in sent if one.event]) > 0
