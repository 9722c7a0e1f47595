"""The output of many children: read from their pipes in whole lines, shown in one place, and kept in a file."""

import os
import selectors
import sys
from pathlib import Path
from typing import BinaryIO, Protocol, Self, TextIO

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_LONGEST_LINE = 64 * 1024
_CHUNK = 64 * 1024
_LARGEST_LOG = 8 * 1024 * 1024  # bytes; there are at most two of them


class Display(Protocol):
    """Shows the lines of children and the messages of the process tree itself."""

    def line(self, child: str, text: str) -> None:
        """A line that a child wrote."""

    def say(self, text: str) -> None:
        """A message of our own, to show at once."""

    def became(self, child: str, *, ready: bool | None) -> None:
        """A child was started (False), is ready (True), or has ended properly (None)."""

    def last_words(self, child: str) -> None:
        """A child failed: show its last output now."""

    def flush(self) -> None:
        """There is no more to show at the moment. Called several times a second."""


class PrefixedLines:
    """Shows every line after the name of the child that wrote it; on a terminal, each child has its own colour."""

    def __init__(self, *, width: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self._width = width
        self._prefixes: dict[str, str] = {}

    def line(self, child: str, text: str) -> None:
        if child not in self._prefixes:
            self._prefixes[child] = self._prefix(child, len(self._prefixes))
        self._stream.write(f"{self._prefixes[child]}{text}\n")

    def say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def became(self, child: str, *, ready: bool | None) -> None:
        """The lines themselves show it."""

    def last_words(self, child: str) -> None:
        """They are already shown."""

    def flush(self) -> None:
        self._stream.flush()

    def _prefix(self, name: str, index: int) -> str:
        padded = f"{name:<{self._width}} | "
        return f"\033[{_COLOURS[index % len(_COLOURS)]}m{padded}\033[0m" if self._colour else padded


class LogFile:
    """Keeps the lines in a file that only its owner can read. A large file becomes FILE.1 and replaces an older one."""

    def __init__(self, path: Path, *, largest: int = _LARGEST_LOG) -> None:
        self.path, self._largest = path, largest
        self._file = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def line(self, child: str, text: str) -> None:
        """Keep a line that a child wrote."""
        self._file.write(f"{child} | {text}\n".encode())

    def flush(self) -> None:
        """Write what is buffered."""
        self._file.flush()
        if self._file.tell() > self._largest:
            self._file.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._file = self._open()

    def _open(self) -> BinaryIO:
        return os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


class ChildOutput:
    """Reads pipes without threads: `pump` shows what has arrived in the meantime."""

    def __init__(self, display: Display, log: LogFile | None = None) -> None:
        self.display, self._log = display, log
        self._selector = selectors.DefaultSelector()
        self._names: dict[int, str] = {}
        self._unfinished: dict[int, bytes] = {}

    def open(self, name: str) -> int:
        """A file descriptor to give to a child as its output; the caller closes its copy afterwards."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._names[reading] = name
        self._unfinished[reading] = b""
        self._selector.register(reading, selectors.EVENT_READ)
        return writing

    def pump(self, timeout: float) -> None:
        """Wait up to `timeout` for output, and show what there is."""
        for key, _ in self._selector.select(timeout):
            self._read(key.fd)
        self._flush()

    def drain(self) -> None:
        """Show what is left, including unfinished lines."""
        while ready := self._selector.select(0):
            for key, _ in ready:
                self._read(key.fd)
        for fd in list(self._unfinished):
            self._end(fd)
        self._flush()

    def _read(self, fd: int) -> None:
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            self._end(fd)
            return
        *lines, rest = (self._unfinished[fd] + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            self._line(fd, line)
        self._unfinished[fd] = rest

    def _end(self, fd: int) -> None:
        if rest := self._unfinished.pop(fd):
            self._line(fd, rest)
        self._selector.unregister(fd)
        del self._names[fd]
        os.close(fd)

    def _line(self, fd: int, line: bytes) -> None:
        name, text = self._names[fd], line.decode(errors="replace").rstrip()
        self.display.line(name, text)
        if self._log is not None:
            self._log.line(name, text)

    def _flush(self) -> None:
        self.display.flush()
        if self._log is not None:
            self._log.flush()
