"""What an engine of many processes says, as JSON: one object for each line."""

import json
import sys
from datetime import UTC, datetime
from typing import TextIO


class JsonLines:
    """Shows lines that are objects already as they are; what servers write, and our own messages, as the same kind of
    lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def line(self, child: str, text: str) -> None:
        if text.startswith("{"):
            self._stream.write(f"{text}\n")
        elif text:
            self._write(child, text)

    def say(self, text: str) -> None:
        for line in filter(None, map(str.strip, text.splitlines())):
            self._write("up", line)
        self._stream.flush()

    def became(self, child: str, *, ready: bool | None) -> None:
        """The lines themselves show it."""

    def last_words(self, child: str) -> None:
        """They are already shown."""

    def flush(self) -> None:
        self._stream.flush()

    def _write(self, process: str, event: str) -> None:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = {"process": process, "event": event, "level": "info", "logger": process, "timestamp": now}
        self._stream.write(json.dumps(line) + "\n")
