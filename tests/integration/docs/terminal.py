"""A reader's terminals: one shell for all blocks of a page, and a second one in which `dispatcher listen` runs.

It is the system's shell. `dispatcher` and `curl` are functions in it that send their arguments to this process, which
runs both: starting the command line takes more than a second of CPU, and the pages start it about a hundred times.
"""

import os
import select
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.forked import Forked
from tests.integration.docs.blocks import ROOT
from tests.process_table import eventually


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended, and what it printed."""

    status: int
    out: str
    err: str = ""


Program = Callable[[list[str], bytes], Result]
"""Runs one of our programs with its arguments and its standard input."""

_BEGIN = """set -e
exec 3>asked 4<answered
ask() {
    cat >stdin
    printf '%s\\0' "$#" "$@" >&3
    read -r status <&4
    cat stdout
    cat stderr >&2
    return "$status"
}
dispatcher() { ask dispatcher "$@"; }
curl() { ask curl "$@"; }
"""
_BLOCK = """. ./block </dev/null >printed 2>complained
printf '%s\\0' 0 >&3
"""


class Shell:
    """A shell in this process's folder, which is `folder`. Use it as a context manager."""

    def __init__(self, programs: Mapping[str, Program], folder: Path) -> None:
        self._programs, self._folder = programs, folder

    def __enter__(self) -> Self:
        for name in ("asked", "answered"):
            os.mkfifo(self._folder / name)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # as `./run.sh shell` has it
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE, env=environment, text=True)
        self._type(_BEGIN)
        self._asked = (self._folder / "asked").open("rb", buffering=0)
        self._answered = (self._folder / "answered").open("w")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._asked.close()
        self._answered.close()

    def run(self, code: str) -> Result:
        """Runs a block, up to its first command that fails. After a failure the shell has ended."""
        (self._folder / "block").write_text(code)
        self._type(_BLOCK)
        while words := self._next():
            stdin = (self._folder / "stdin").read_bytes()
            result = self._programs[words[0]](words[1:], stdin)
            (self._folder / "stdout").write_text(result.out)
            (self._folder / "stderr").write_text(result.err)
            self._answered.write(f"{result.status}\n")
            self._answered.flush()
        status = 0 if words is not None else self._process.wait(10)
        return Result(status, *((self._folder / name).read_text() for name in ("printed", "complained")))

    def _type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _next(self) -> list[str] | None:
        """The words of the next command for this process: [] if the block has ended, None if the shell has."""
        count = self._field()
        return None if count is None else [self._field() or "" for _ in range(int(count))]

    def _field(self) -> str | None:
        field = b""
        while True:
            assert select.select([self._asked], [], [], 60)[0], "the block did not end within 60 s"
            match self._asked.read(1):
                case b"\0":
                    return field.decode()
                case b"":
                    return None
                case byte:
                    field += byte


class Listener:
    """`dispatcher listen`, at a free port instead of the page's."""

    def __init__(self, command: str, folder: Path) -> None:
        self._shown, said = folder / "listener", folder / "listener.said"
        program, *words = shlex.split(command)
        assert program == "dispatcher"
        with self._shown.open("wb") as stdout, said.open("wb") as stderr:
            self._process = Forked(
                ("dispatcher", *words, "--port", "0"), os.environ, stdout=stdout.fileno(), stderr=stderr.fileno()
            )
        begins = "Listening on http://127.0.0.1:"
        eventually(lambda: begins in said.read_text() or self._process.poll() is not None)
        assert self._process.poll() is None, said.read_text()
        self.port = said.read_text().partition(begins)[2].partition("/")[0]

    def lines(self, count: int) -> list[str]:
        """The callbacks, one line for each. There must be `count`."""
        eventually(lambda: len(self._shown.read_text().splitlines()) >= count, within=10)
        lines = self._shown.read_text().splitlines()
        assert len(lines) == count, lines
        return lines

    def last_body(self) -> str:
        """The body of the last callback."""
        return self._shown.read_text().splitlines()[-1].rpartition("  ")[2]

    def close(self) -> None:
        """Ends it with SIGTERM."""
        self._process.terminate()
        self._process.wait(30)
