"""What the two embedded servers have in common: one folder, one process, a port found by trying, an orderly end."""

import contextlib
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import ClassVar, Self
from urllib.parse import quote

from dispatcher.embedded.errors import StartFailed
from dispatcher.embedded.servers.occupancy import Occupancy
from dispatcher.embedded.servers.ports import free_port, is_free

_PORT_TRIES = 8
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_TAIL_BYTES = 2000


class EmbeddedServer(ABC):
    """A server that keeps its data in `directory` and listens on 127.0.0.1 only, with a password.

    Its output goes to `server.log` in the directory, or to the file descriptor `output`.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[Signals]

    def __init__(self, directory: Path, *, password: str, output: int | None = None) -> None:
        self.directory = directory.absolute()
        self.password = password
        self._output = output
        self._occupancy = Occupancy(self.directory / "server.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The server's main process."""
        assert self._process is not None, f"{self.name} is not started"
        return self._process

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        assert self._port is not None, f"{self.name} is not started"
        return self._port

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included."""

    def start(self) -> Self:
        """Start and wait until it answers. Raises DataInUse, DataVersionMismatch, NotInstalled or StartFailed."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._occupancy.acquire(within=15)
        try:
            self._prepare()
            self._serve()
        except BaseException:
            self.stop()
            raise
        return self

    def start_again(self, output: int | None = None) -> None:
        """Start a server that has ended by itself, at the address that it had. Raises StartFailed."""
        self._output = output
        self._prepare()
        if not self._serves():
            why = self._why()
            self.process.kill()
            self.process.wait()
            raise StartFailed(self.name, why)

    def stop(self) -> None:
        """End the server: in an orderly way first, by force if that takes too long."""
        if (process := self._process) is not None and process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._occupancy.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Bring the directory into a state in which the server can start; no server runs on it."""

    @abstractmethod
    def _spawn(self, output: int) -> "subprocess.Popen[bytes]":
        """Start the process, on `port`; it must inherit `_lock`."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether our own process (not another program on the same port) serves clients."""

    @property
    def _lock(self) -> int:
        return self._occupancy.fd

    def _quoted_password(self) -> str:
        return quote(self.password, safe="")

    def _serve(self) -> None:
        for _ in range(_PORT_TRIES):
            self._port = free_port()
            if self._serves():
                return
            if is_free(self._port):  # so the cause was not another program that took the port in the meantime
                break
        raise StartFailed(self.name, self._why())

    def _serves(self) -> bool:
        with _output_file(self.directory / "server.log", self._output) as output:
            self._process = self._spawn(output)
        return self._becomes_ready()

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if self._is_ready():
                return True
            time.sleep(0.01)
        return False

    def _why(self) -> str:
        status = self.process.poll()
        end = f"not ready within {_START_SECONDS:.0f} s" if status is None else f"it ended with status {status}"
        if self._output is not None:
            return f"{end}; its output is above"
        log = self.directory / "server.log"
        tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        return f"{end}; its last output, from {log}:\n{tail}"


@contextlib.contextmanager
def _output_file(log: Path, given: int | None) -> Iterator[int]:
    if given is not None:
        yield given
        return
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
