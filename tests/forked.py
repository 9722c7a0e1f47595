"""Our programs in processes that are forked from a server which has loaded what they load: that is most of what a start
costs."""

import fcntl
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from signal import Signals
from typing import Any

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """`python -m ...` in a session of its own, at the terminal that is its standard input, if it is one; used as a
    `subprocess.Popen`. Its output is flushed line by line."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: int | None = None,
        stdout: int,
        stderr: int | None = None,
        folder: Path | None = None,
    ) -> None:
        streams = {0: stdin, 1: stdout, 2: stdout if stderr is None else stderr}
        passed = {number: Passed(fd) for number, fd in streams.items() if fd is not None}
        where = str(folder or Path.cwd())
        self._process = context.Process(target=_become, args=(tuple(words), dict(environment), passed, where))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(["python", "-m"], timeout)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(Signals.SIGTERM)

    def kill(self) -> None:
        self.send_signal(Signals.SIGKILL)


def run(
    *words: str, environment: Mapping[str, str], folder: Path | None = None, given: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m ...` to its end, with this on its standard input."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(given)
        stdin.seek(0)
        streams = {"stdin": stdin.fileno(), "stdout": out.fileno(), "stderr": err.fileno()}
        process = Forked(words, environment, **streams, folder=folder)
        try:
            status = process.wait(120)
        finally:
            process.kill()
        written = [os.pread(stream.fileno(), 10_000_000, 0).decode() for stream in (out, err)]
    return subprocess.CompletedProcess(["python", "-m", *words], status, *written)


class Passed:
    """A file descriptor that the new process gets, under whatever number."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self._fd),)


def _received(passed: Any) -> Any:
    return passed.detach()


def _become(words: Sequence[str], environment: dict[str, str], passed: dict[int, int], folder: str) -> None:
    os.setsid()
    os.chdir(folder)
    for number, fd in passed.items():
        os.dup2(fd, number)
        os.close(fd)
    if 0 in passed and os.isatty(0):  # without, Ctrl-C would be a character
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it is no path
    sys.stdout, sys.stderr = (open(fd, "w", 1, encoding="utf-8", closefd=False) for fd in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["", *words[1:]]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
