"""The demo, as a new user starts it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("usual_ports_taken")]

ROOT = Path(__file__).parents[2]
# The demo with less than its whole engine, whose start takes seconds; .ci/run has a whole one. Without Flower, an idle
# process is in its place.
_WITHOUT = """
from dispatcher.cli import main
from dispatcher.embedded import up

up._flower = lambda directory, environment, *_: up._python(
    "idle", directory, environment, "http.server", "0", "--bind", "127.0.0.1"
)
up._engine_children = lambda plan, directory, environment, port: {children}
main()
"""
WITHOUT_AN_ENGINE = _WITHOUT.format(children="()")
IN_ONE_COMMAND = _WITHOUT.format(
    children="(up._python('workers', directory, environment, 'workers', 'deliver', 'maintenance', 'beat'),)"
)


def test_the_demo_ends_with_every_outcome_that_the_rules_demand(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "140"}
    demo = subprocess.run(
        [sys.executable, "-P", "-c", IN_ONE_COMMAND, "demo"],
        cwd=tmp_path,
        env=bare,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Time is scaled" in demo.stdout
    assert "http://127.0.0.1:" not in demo.stdout.partition("Results")[0]  # addresses that end with the engine
    assert re.search("./run.sh demo --stay .* console", demo.stdout.splitlines()[-3])
    assert "./run.sh up --dev" in demo.stdout.splitlines()[-2]
    assert "Every outcome is what the delivery rules require." in demo.stdout
    results = demo.stdout.partition("Results")[2]
    for outcome in ("6 delivered", "6 discarded: rejected"):
        assert outcome in results
    not_over = re.findall(r"(\d) (?:ready|claimed|waiting)\b", results)  # as `delivery list` names them
    assert sum(map(int, not_over)) == 2 * 6
    assert demo.stdout.count(" mail to ") >= 4
    assert '[{"id":"40234576' in demo.stdout
    assert "secret=" not in demo.stdout
    assert list(tmp_path.iterdir()) == []  # nothing of its data either


def test_ctrl_c_in_the_demo_is_no_verdict_on_the_product(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WITHOUT_AN_ENGINE, "demo"],
        cwd=tmp_path,
        env=bare,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if line.startswith("Enqueued"):
                demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130, said
    assert said.endswith("Stopped.\n")
    assert list(tmp_path.glob("dispatcher-*")) == []  # its data
    assert "rules require" not in said
