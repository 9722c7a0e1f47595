"""A process of a unit or container, started as its manager would: with secrets in a folder, and a socket that it tells
how it is."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

import psutil

CLEAN = {0, -signal.SIGTERM}  # what systemd accepts as a clean end; uvicorn ends by the signal that it was sent


@dataclass(frozen=True, slots=True)
class Running:
    """A started process of the engine."""

    name: str
    process: "subprocess.Popen[bytes]"
    folder: Path
    stop_seconds: int
    systemd: socket.socket

    @classmethod
    def begin(
        cls,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        stop_seconds: int,
        *,
        managed: bool,
        state: Path | None = None,
    ) -> Self:
        """Starts it in `state`, which is `folder` if there is none. `managed`: it is a unit. Its log and secrets are in
        `folder`."""
        systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        systemd.setblocking(False)
        address = f"@{uuid4()}"
        systemd.bind(address.replace("@", "\0"))
        given = {"CREDENTIALS_DIRECTORY": str(folder / "secrets"), "NOTIFY_SOCKET": address} if managed else {}
        with (folder / "log").open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, **given},
                cwd=state or folder,
                start_new_session=True,
            )
        return cls(name, process, folder, stop_seconds, systemd)

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def told(self) -> set[str]:
        """What it has told systemd since the last look."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                found.add(self.systemd.recv(1024).decode())
        return found

    def kill(self) -> None:
        """Ends it with all its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
        self.process.kill()
        self.process.wait(20)
        self.systemd.close()
