"""Processes of the engine, forked from a server that has loaded what they load: that is most of what a start costs."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from signal import Signals

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """`python -m ...` in a session of its own, writing to a file; used as a `subprocess.Popen`."""

    def __init__(
        self, words: Sequence[str], log: Path, environment: dict[str, str], folder: Path | None = None
    ) -> None:
        log.touch()
        where = str(folder or Path.cwd())
        self._process = context.Process(target=_become, args=(tuple(words), str(log), environment, where))
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


def _become(words: Sequence[str], log: str, environment: dict[str, str], folder: str) -> None:
    os.setsid()
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["", *words[1:]]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
