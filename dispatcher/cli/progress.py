"""Shows the progress of a long command: one moving line on a terminal, otherwise a plain line every few seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from dispatcher.cli.output import print_sentence

_TERMINAL_SECONDS = 0.2
_PLAIN_SECONDS = 5.0


class Counting:
    """Counts what is done, and shows the count every so often."""

    def __init__(self, console: Console, what: str) -> None:
        self.done, self.what = 0, what
        self._console = console
        self._started = time.monotonic()
        self._moving: Progress | None = None
        self._pace = _TERMINAL_SECONDS if console.is_terminal else _PLAIN_SECONDS
        self._next = self._started + self._pace

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the count while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self._console, transient=True) as self._moving:
            self._moving.add_task(self._line(), total=None)
            yield

    @property
    def rate(self) -> float:
        """Things done per second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-6)

    def add_one(self) -> None:
        """One more is done."""
        self.reach(self.done + 1)

    def reach(self, done: int) -> None:
        """So many are done."""
        self.done = done
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pace
        if self._moving is not None:
            self._moving.update(self._moving.task_ids[0], description=self._line())
        else:
            self.say(self._line())

    def say(self, line: str) -> None:
        """A line that stays."""
        print_sentence(line, self._console)

    def _line(self) -> str:
        return f"{self.done:,} {self.what}, {self.rate:,.0f} a second"
