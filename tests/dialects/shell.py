"""Runs the commands of vendors' pages unchanged, with the real `curl` and with a stand-in for it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.dialects import curl

Shell: TypeAlias = Callable[[str], str]


def shell_with(program: str, folder: Path) -> Shell:
    """A shell in which `curl` is the real one (`curl`) or the stand-in (any other word). Skips if curl is missing."""
    if program == "curl":
        real = shutil.which("curl")
        if real is None:
            pytest.skip("curl is not installed")
        line = f'exec "{real}" -q -s "$@"'
    else:
        line = f'exec "{sys.executable}" -P "{curl.__file__}" "$@"'
    script = folder / "curl"
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)

    def run(command: str) -> str:
        environment = {"PATH": f"{folder}:/usr/bin:/bin"}  # without proxy and user settings
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", command],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
