"""The output of many children on one terminal: whole lines, each with the name of the child that wrote it."""

import os
import selectors
import sys
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_LONGEST_LINE = 64 * 1024
_CHUNK = 64 * 1024


class PrefixedOutput:
    """Reads pipes without threads: `pump` writes what has come in the meantime."""

    def __init__(self, *, width: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self._width = width
        self._selector = selectors.DefaultSelector()
        self._prefixes: dict[int, str] = {}
        self._unfinished: dict[int, bytes] = {}

    def open(self, name: str) -> int:
        """A file descriptor to give to a child as its output; the caller closes its copy afterwards."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._prefixes[reading] = self._prefix(name, len(self._prefixes))
        self._unfinished[reading] = b""
        self._selector.register(reading, selectors.EVENT_READ)
        return writing

    def pump(self, timeout: float) -> None:
        """Wait up to `timeout` for output, and write what there is."""
        for key, _ in self._selector.select(timeout):
            self._read(key.fd)
        self._flush()

    def drain(self) -> None:
        """Write what is left, unfinished lines too."""
        while ready := self._selector.select(0):
            for key, _ in ready:
                self._read(key.fd)
        for fd in list(self._unfinished):
            self._end(fd)
        self._flush()

    def say(self, text: str) -> None:
        """A line of our own."""
        self._write(text + "\n")
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
        os.close(fd)

    def _line(self, fd: int, line: bytes) -> None:
        self._write(f"{self._prefixes[fd]}{line.decode(errors='replace').rstrip()}\n")

    def _prefix(self, name: str, index: int) -> str:
        padded = f"{name:<{self._width}} | "
        return f"\033[{_COLOURS[index % len(_COLOURS)]}m{padded}\033[0m" if self._colour else padded

    def _write(self, text: str) -> None:
        self._stream.write(text)

    def _flush(self) -> None:
        self._stream.flush()
