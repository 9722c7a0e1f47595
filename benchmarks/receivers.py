"""Starts the receivers, our own, and nginx for the plain rows where it is installed, and counts what they get."""

import http.client
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from benchmarks.receiver import BOARD_SIZE, KINDS, Board
from dispatcher.embedded.servers.ports import LOOPBACK, free_port
from dispatcher.embedded.spawning.spawn import spawn

_NGINX = """
daemon off; worker_processes 1; error_log {folder}/error.log; pid {folder}/pid;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{ listen {address}:{port} backlog=4096; location / {{ return 204; }} location = /status {{ stub_status; }} }}
}}
"""


class Instant(Protocol):
    """A receiver that answers at once."""

    name: str
    pid: int

    def url(self) -> str: ...

    def requests(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Counts:
    """What one path has received since the last `Receiver.forget`; arrivals in monotonic seconds, 0 before the
    first."""

    requests: int
    messages: int
    first_at: float
    last_at: float


class Receiver:
    """Our own receiver, running: it listens on one port or on many, all alike."""

    name = "own epoll receiver"

    def __init__(self, process: "subprocess.Popen[bytes]", board: Board, scheme: str) -> None:
        self.pid = process.pid
        self._board, self._scheme = board, scheme

    def url(self, path: str = "ok") -> str:
        return self.urls(path)[0]

    def urls(self, path: str = "ok") -> list[str]:
        """A URL for each port."""
        return [f"{self._scheme}://{LOOPBACK}:{port}/{path}" for port in self._board.ports]

    def counts(self, kind: str) -> Counts:
        return Counts(*self._board.read(KINDS.index(kind)))

    def requests(self) -> int:
        return self.counts("ok").requests

    def opened(self) -> tuple[int, int]:
        """(connections that have carried something, those of them that resumed a TLS session), since the start."""
        return self._board.opened

    def arrivals(self, count: int) -> list[float]:
        """When the messages numbered from 0 came to /timed, in monotonic seconds; 0 for one that has not come."""
        return [self._board.arrival(number) for number in range(count)]

    def forget(self) -> None:
        """Resets counts and arrivals and turns the switch off. No request may be coming in."""
        for kind in range(len(KINDS)):
            self._board.write(kind, (0, 0, 0.0, 0.0))
        self._board.forget_arrivals()
        self.turn(on=False)

    def turn(self, *, on: bool) -> None:
        """Makes /switch answer 204 (on) or 503 (off)."""
        self._board.turn(on=on)


class Nginx:
    """nginx, running: one worker process, which counts its requests."""

    name = "nginx"

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.pid = process.pid
        self._port = port
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
        self._own = 0

    def close(self) -> None:
        self._connection.close()

    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}/ok"

    def requests(self) -> int:
        self._own += 1
        self._connection.request("GET", "/status")
        # The third line has three counts: accepted connections, handled ones, and requests, this one included.
        return int(self._connection.getresponse().read().splitlines()[2].split()[2]) - self._own


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate of a receiver, a PEM file with its key, and what it speaks: `h2` or `http/1.1`."""

    pem: Path
    protocol: str


@contextmanager
def own_receiver(
    folder: Path, message_bytes: int, *, name: str = "receiver", listeners: int = 1, tls: Tls | None = None
) -> Iterator[Receiver]:
    path = folder / f"{name}.board"
    path.write_bytes(bytes(BOARD_SIZE))
    board = Board(path)
    script = Path(__file__).with_name("receiver.py")
    words: list[str | Path] = [sys.executable, "-I", script, path, str(message_bytes), str(listeners)]
    if tls is not None:
        words += [tls.pem, tls.protocol]
    process = spawn(words, death_signal=Signals.SIGKILL, output=2)
    try:
        _wait(lambda: bool(board.ports), process, "the receiver")
        yield Receiver(process, board, "https" if tls else "http")
    finally:
        _end(process)


@contextmanager
def instant_receiver(folder: Path, own: Receiver) -> Iterator[Instant]:
    """nginx if it is on PATH, otherwise our own receiver."""
    program = shutil.which("nginx")
    if program is None:
        yield own
        return
    nginx_folder = folder / "nginx"
    nginx_folder.mkdir()
    port = free_port()
    configuration = nginx_folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=nginx_folder, address=LOOPBACK, port=port))
    process = spawn([program, "-c", configuration, "-e", nginx_folder / "error.log"], death_signal=Signals.SIGTERM)
    try:
        _wait(lambda: _answers(port), process, "nginx")
        with closing(Nginx(process, port)) as nginx:
            yield nginx
    finally:
        _end(process)


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/ok")
            with connection.getresponse() as answer:
                return answer.status == 204
        except OSError:
            return False


def _wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", name: str) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.01)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
