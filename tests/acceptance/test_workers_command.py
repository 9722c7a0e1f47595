"""`python -m workers` says how it is used, and what is wrong."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.forked import run

ROOT = Path(__file__).parents[2]


def workers(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return run("workers", *words, environment={**os.environ, **more})


def test_help_lists_the_processes_and_their_options_with_defaults() -> None:
    said = workers("--help")
    assert said.returncode == 0
    assert all(f"\n    {process}" in said.stdout for process in ("api", "deliver", "maintenance", "beat"))
    for process, children, name in (("deliver", 2, "deliver@%h"), ("maintenance", 3, "upkeep@%h")):
        words = " ".join(workers(process, "--help").stdout.split())
        assert f"child processes that work (default: {children})" in words
        assert f"(default: {name})" in words
    assert "(default: 8080)" in " ".join(workers("api", "--help").stdout.split())
    assert "(default: beat-schedule)" in " ".join(workers("beat", "--help").stdout.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "PROCESS"),
        (("sweep",), "invalid choice: 'sweep'"),
        (("deliver", "-c", "0"), "'0' is not a whole number of at least 1"),
        (("deliver", "--autoscale", "4,2"), "unrecognized arguments: --autoscale 4,2"),
        (("-c", "2", "deliver"), "invalid choice: '2'"),
        (("api", "deliver", "-c", "0", "beat"), "'0' is not a whole number of at least 1"),
        (("api", "-c", "2", "deliver"), "unrecognized arguments: -c 2"),
        (("api", "--port", "65536"), "'65536' is not a whole number from 0 to 65535"),
        (("deliver", "-n", "x", "maintenance", "-n", "x"), "two nodes have the name x: give each another one with -n"),
        (("deliver", "beat", "deliver"), "deliver is there twice: start the second one with a command of its own"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(words: tuple[str, ...], sentence: str) -> None:
    said = workers(*words, DATABASE_URL="")
    assert (said.returncode, said.stdout) == (2, "")
    assert sentence in said.stderr


@pytest.mark.parametrize("processes", ["deliver", "maintenance", "beat", "api deliver maintenance beat"])
def test_missing_settings_end_it_with_their_names(processes: str, tmp_path: Path) -> None:
    said = workers(*processes.split(), DATABASE_URL="", BROKER_URL="", DISPATCHER_DATA_DIR=str(tmp_path))
    assert said.returncode == 1
    (line,) = map(json.loads, said.stderr.splitlines())
    assert line["event"] == "cannot start"
    assert "DATABASE_URL" in line["why"]
