"""docs/testing.md, from top to bottom; and its tests, as a reader runs them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.docs.blocks import ROOT, blocks_of
from tests.integration.docs.reader import Reader

PAGE = "docs/testing.md"

# No server can be reached but those on loopback that a test itself has started, no engine is found, and cryptography
# is not installed.
_ALONE = """
import socket
import sys

sys.modules["cryptography"] = None
listening, listen, connect = set(), socket.socket.listen, socket.socket.connect

def noted(self, *given):
    listen(self, *given)
    listening.add(self.getsockname())

def refused_elsewhere(self, address):
    if self.family != socket.AF_UNIX and address not in listening:
        raise AssertionError(f"a test connects to {address}")
    connect(self, address)

socket.socket.listen, socket.socket.connect = noted, refused_elsewhere
"""


def test_the_page_runs_from_top_to_bottom(reader: Reader) -> None:
    reader.read_to_the_end()
    assert len([name for name in reader.names if name.startswith("test_")]) == 8


def test_its_tests_pass_without_any_server(tmp_path: Path) -> None:
    code = "".join(f"{block.code}\n\n" for block in blocks_of(PAGE) if block.language == "python")
    (tmp_path / "test_page.py").write_text(code)
    (tmp_path / "conftest.py").write_text(_ALONE)
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "dispatcher.testing.plugin", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout
    assert "9 passed" in ran.stdout


def test_a_run_that_asks_for_no_fixture_loads_nothing_but_the_plugin() -> None:
    """pytest loads it wherever the producer is installed."""
    code = "import pytest, sys; import dispatcher.testing.plugin; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    ours = {name for name in loaded if name.partition(".")[0] == "dispatcher"}
    assert ours == {"dispatcher", "dispatcher.testing", "dispatcher.testing.plugin", "dispatcher.version"}
    assert not {"sqlalchemy", "celery", "pydantic"} & set(loaded)
