"""A shell of an operator on one server: variables stay from block to block, the first command that fails ends it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.process_table import eventually

_BLOCK = "set -euo pipefail; . {0}/block </dev/null >{0}/printed 2>{0}/complained; echo done >{0}/status\n"


class Terminal:
    """bash, begun by `command`. Use it as a context manager."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._command, self._environment, self._folder = command, environment, folder

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._process = subprocess.Popen(
            [*self._command, "bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            env=self._environment,
            cwd=self._folder,
            text=True,
            stderr=subprocess.DEVNULL,  # what a block complains of is in a file
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def run(self, code: str, place: str) -> str:
        """What a block printed. It must not fail."""
        status = self._folder / "status"
        status.unlink(missing_ok=True)
        (self._folder / "block").write_text(code)
        assert self._process.stdin is not None
        self._process.stdin.write(_BLOCK.format(self._folder))
        self._process.stdin.flush()
        ended = eventually(lambda: status.exists() or self._process.poll() is not None, within=180)
        printed, complained = ((self._folder / name).read_text() for name in ("printed", "complained"))
        assert ended, f"{place} did not end:\n{printed}\n{complained}"
        assert self._process.poll() is None, f"{place} failed:\n{code}\n{printed}\n{complained}"
        return printed
