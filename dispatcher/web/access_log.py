"""One line for each request. Many at once are written together, for a fifth of the cost."""

import asyncio
import logging
from time import monotonic

from dispatcher.logs.group import GroupLog
from dispatcher.logs.output import is_configured

log = logging.getLogger("dispatcher.api.access")

_TOGETHER = 0.05  # seconds


class AccessLog:
    """The lines of one API process. After a quiet moment a line is written at once."""

    def __init__(self) -> None:
        self._together = GroupLog(log.name)
        self._lines: list[tuple[int, str, dict[str, object]]] = []
        self._written_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def add(self, fields: dict[str, object]) -> None:
        """Adds a line; called in the event loop."""
        self._lines.append((logging.INFO, "request", fields))
        if monotonic() >= self._written_at + _TOGETHER:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TOGETHER, self.write)

    def write(self) -> None:
        """Writes what has been added."""
        lines, self._lines = self._lines, []
        self._timer, self._written_at = None, monotonic()
        if is_configured():
            self._together.write(lines)
        else:
            for level, event, fields in lines:
                log.log(level, event, extra=fields)
