"""The calm screen of `up`: what runs, where, and how much data there is, redrawn in place; errors stay visible."""

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dispatcher.masking.terminal import safe_text

# A statement that PostgreSQL refuses ("ERROR:  ...") concerns its client, which logs an error itself if it is one.
_ERROR = re.compile(
    r'\[(?:error|critical)\s*\]|"level": "(?:error|critical)"|\b(?:CRITICAL|FATAL|PANIC)\b|\bERROR\b(?!:  )|^\[E '
)
_HEAD = re.compile(r"^\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z| UTC)? +(?:\[\w+ *\] *)?")
_ERRORS_SHOWN = 5
_WORDS_KEPT = 25
_SECONDS_BETWEEN = 0.25


class CalmScreen:
    """A display for a terminal. Enter it, and leave it when everything has ended: its last content stays."""

    def __init__(self, console: Console) -> None:
        self.headline = "Starting."
        self.rows: Mapping[str, str] = {}
        self.warnings: list[str] = []
        self._console = console
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._ready: dict[str, bool] = {}
        self._errors: deque[Text] = deque(maxlen=_ERRORS_SHOWN)
        self._error_count = 0
        self._words: dict[str, deque[str]] = {}
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        self._console.show_cursor(True)  # a killed process could not bring it back
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.ends("")  # what comes below says how it ended
        self._live.stop()

    def line(self, child: str, text: str) -> None:
        self._words.setdefault(child, deque(maxlen=_WORDS_KEPT)).append(text)
        if _ERROR.search(text):
            self._error_count += 1
            said = f"{time.strftime('%H:%M:%S')} {child}: {_HEAD.sub('', safe_text(text))}"
            self._errors.append(Text(said, style="red", no_wrap=True, overflow="ellipsis"))

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def became(self, child: str, *, ready: bool | None) -> None:
        self._ready.pop(child, None)
        if ready is not None:
            self._ready[child] = ready
        self._draw()

    def ends(self, headline: str) -> None:
        """Shows nothing but the headline, if there is one, and the errors."""
        self.headline, self.rows, self.warnings = headline, {}, []
        self._ready.clear()
        self._draw()

    def last_words(self, child: str) -> None:
        if words := self._words.get(child):
            self.say("\n".join((f"The last output of {child}:", *(f"  {safe_text(text)}" for text in words))))

    def flush(self) -> None:
        if time.monotonic() - self._drawn > _SECONDS_BETWEEN:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        by_state = {
            title: ", ".join(child for child, is_ready in self._ready.items() if is_ready is state)
            for title, state in (("Ready", True), ("Starting", False))
        }
        for name, value in {**by_state, **self.rows}.items():
            if value:
                table.add_row(f"  {name}", Text(value))
        # The most important comes first: a small terminal has no room for the rest.
        parts: list[RenderableType] = [Text(f"\n{self.headline}\n", style="bold")] if self.headline else []
        parts += [Text(f"{warning}\n", style="bold yellow") for warning in self.warnings]
        parts.append(table)
        if self._errors:
            parts.append(Text(f"\nErrors: {self._error_count:,}, the last ones:", style="bold red"))
            parts += self._errors
        return Group(*parts)
