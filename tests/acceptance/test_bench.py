"""`./run.sh bench`, on a small scale: everything is started, measured, shown, and removed afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]


def test_a_small_run_measures_shows_and_leaves_nothing_behind(tmp_path: Path) -> None:
    words = ["--quick", "--runs", "1", "--size", "0.05", "--only", "fifty-webhooks", "--only", "latency-http"]
    files = ["--json", str(tmp_path / "run.json"), "--plot", str(tmp_path / "run.png")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks", *words, *files],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "DISPATCHER_MAX_IN_FLIGHT": "nonsense"},
    )
    found = json.loads((tmp_path / "run.json").read_text())
    for measure in ("single", "fifty"):
        assert found["measures"][measure]["failed"] is None
        median = found["measures"][measure]["median"]
        assert median["rate"] > 10
        assert median["worker_us"] > 0
        assert median["child_mb"] > 10
    for measure in ("latency-bare", "latency-http"):
        assert found["measures"][measure]["failed"] is None
        median = found["measures"][measure]["median"]
        assert 0 < median["p50_ms"] <= median["p99_ms"]
    (target,) = found["rows"]["fifty-webhooks"]
    assert target["value"] == pytest.approx(
        found["measures"]["fifty"]["median"]["rate"] / found["measures"]["single"]["median"]["rate"]
    )
    verdicts = {one["verdict"] for row in found["rows"].values() for one in row}
    assert done.returncode == (1 if "MISS" in verdicts else 0), done.stderr
    assert found["about"]["captured answers"].startswith("on")
    assert "fifty-webhooks" in done.stdout
    assert "fifty 1/1: rate" in done.stderr
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("dispatcher-bench-*"))
