"""The folder of a locally started engine: its lock, its secrets, and the file through which commands find it."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from cryptography.fernet import Fernet
from dotenv import dotenv_values

from dispatcher.embedded.errors import EmbeddedError
from dispatcher.embedded.servers.occupancy import Occupancy
from dispatcher.settings import CONNECTION_FILE, LOCK_FILE, default_data_dir, is_running

KEYS = "DISPATCHER_ENCRYPTION_KEYS"
FLOWER_PASSWORD = "DISPATCHER_FLOWER_PASSWORD"  # the variable's name  # noqa: S105
API_ADDRESS = "DISPATCHER_API_ADDRESS"
FLOWER_ADDRESS = "DISPATCHER_FLOWER_ADDRESS"
FLOWER_USER = "dispatcher"
_LASTING = (KEYS, FLOWER_PASSWORD)
_OURS_ALONE = 0o700


class DataDirectory:
    """One engine's folder, held by one process at a time: enter to lock it, leave to release it.

    `engine.env` (0600) contains everything needed to talk to the engine. Addresses and server passwords are new in each
    run and are removed when the engine stops; the encryption keys stay, because stored data needs them.
    """

    def __init__(self, path: Path, *, temporary: bool = False) -> None:
        self.path = path
        self._temporary = temporary
        self._occupancy = Occupancy(path / LOCK_FILE)

    @classmethod
    def at(cls, path: Path | None) -> Self:
        """The folder at `path`, or in the user's data folder."""
        return cls((path or default_data_dir()).absolute())

    @classmethod
    def temporary(cls) -> Self:
        """A new folder that is deleted at the end."""
        return cls(Path(tempfile.mkdtemp(prefix="dispatcher-")), temporary=True)

    @property
    def connection_file(self) -> Path:
        """`engine.env`, read by the settings of every process of the product."""
        return self.path / CONNECTION_FILE

    def __enter__(self) -> Self:
        self._open()
        self._occupancy.acquire(within=5)
        return self

    def __exit__(self, *_: object) -> None:
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self._write(self._lasting())
        self._occupancy.release()

    def lasting_secrets(self, *, keys: str = "") -> dict[str, str]:
        """The encryption keys and Flower's password, generated at first use.

        `keys`, comma-separated, come first; those in the file follow, so that nothing becomes unreadable.
        """
        found = self._lasting()
        given = [key.strip() for key in keys.split(",") if key.strip()]
        older = [key for key in found.get(KEYS, "").split(",") if key and key not in given]
        lasting = {
            KEYS: ",".join(given + older) or Fernet.generate_key().decode(),
            FLOWER_PASSWORD: found.get(FLOWER_PASSWORD) or new_password(),
        }
        self._write({**lasting})
        return lasting

    def publish(self, lines: Mapping[str, str]) -> None:
        """Write the whole `engine.env`, atomically."""
        self._write(lines)

    def _open(self) -> None:
        try:
            self.path.mkdir(mode=_OURS_ALONE, parents=True)
        except FileExistsError:
            self._adopt()
        except OSError as error:
            raise EmbeddedError(f"the data directory {self.path} cannot be created: {error.strerror}") from error

    def _adopt(self) -> None:
        try:
            if self.path.stat().st_uid != os.geteuid():
                raise EmbeddedError(
                    f"the data directory {self.path} belongs to another user: start the engine as that user, or choose "
                    "another folder"
                )
            names = {entry.name for entry in self.path.iterdir()}
            if names and not names & {LOCK_FILE, CONNECTION_FILE}:
                raise EmbeddedError(
                    f"{self.path} contains files that are not an engine's: choose a new or empty folder as the data "
                    "directory"
                )
            self.path.chmod(_OURS_ALONE)
        except OSError as error:
            raise EmbeddedError(f"the data directory {self.path} cannot be used: {error.strerror}") from error

    def _lasting(self) -> dict[str, str]:
        try:
            text = dotenv_values(self.connection_file, interpolate=False)
        except OSError as error:
            raise EmbeddedError(f"{self.connection_file} cannot be read: {error.strerror}") from error
        return {name: value for name in _LASTING if (value := text.get(name))}

    def _write(self, lines: Mapping[str, str]) -> None:
        partial = self.connection_file.with_suffix(".partial")
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        partial.touch(mode=0o600, exist_ok=False)
        partial.write_text("".join(f"{name}={_quoted(value)}\n" for name, value in lines.items()))
        partial.replace(self.connection_file)


def published(path: Path | None = None) -> dict[str, str]:
    """What the engine that runs in the folder (default: the user's) has published; empty if none runs. A killed engine
    leaves its addresses in the file, so the lock is checked, too."""
    directory = path or default_data_dir()
    if not is_running(directory):
        return {}
    lines = dotenv_values(directory / CONNECTION_FILE, interpolate=False)
    return {name: value for name, value in lines.items() if value}


def new_password() -> str:
    """A new password of 192 random bits, safe in URLs and files."""
    return secrets.token_urlsafe(24)


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_:/@.,=+%?&-]*", value):
        return value
    escaped = value.replace("$", "%24").replace("\\", "\\\\").replace("'", "\\'")  # `${` would be expanded
    return f"'{escaped}'"
