"""How the storm, the faults and the soak begin, show how they go, and end, at a terminal and without one."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from dispatcher.embedded.errors import EmbeddedError
from tests.faults.rig import own_variables

Show = Callable[[str], None]

to_stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def in_the_foreground(what: str, *, show_every: float) -> Iterator[Show]:
    """Runs the block, and gives it what shows how it goes: in one line at a terminal, else in a line every so many
    seconds. Exits with 130 if it is stopped, with 2 if it cannot be run."""
    if sys.platform != "linux":
        raise typer.BadParameter(f"{what} needs Linux")
    for name in own_variables():
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: everything is stopped and removed
    try:
        with to_stderr.status("starting") as status:
            yield _shown_by(status.update, show_every)
    except KeyboardInterrupt:
        to_stderr.print("Stopped. Everything was ended, and the temporary data removed.")
        raise typer.Exit(130) from None
    except (EmbeddedError, RuntimeError) as error:
        to_stderr.print(f"Error: {error}")
        raise typer.Exit(2) from None


def _shown_by(update: Show, every: float) -> Show:
    shown_at = 0.0

    def show(text: str) -> None:
        nonlocal shown_at
        update(text)
        if not to_stderr.is_terminal and time.monotonic() >= shown_at + every:
            to_stderr.print(text, soft_wrap=True)
            shown_at = time.monotonic()

    return show
