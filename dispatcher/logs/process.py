"""What a process of ours does with everything that it would otherwise print: it becomes log lines."""

import atexit
import io
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import NoReturn

import structlog

from dispatcher.logs import output
from dispatcher.logs.configure import configure_logs
from dispatcher.logs.handler import tell_what_was_left_out
from dispatcher.logs.settings import LogSettings

log = structlog.get_logger("dispatcher.process")

_SHOWN = (OSError, ImportError)  # their texts hold no data of customers


def begin_process(name: str, *, prints: bool = False) -> None:
    """Configures the logs of this process, before anything else can go wrong in it. With `prints`, what it prints is an
    answer to a person, and no part of the log."""
    configure_logs(LogSettings(), name)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    logging.captureWarnings(True)
    assert output.current is not None
    atexit.register(tell_what_was_left_out, output.current.repeats, at_end=True)
    if output.writes_json() and not prints:
        # Celery prints its banner to the second one of each.
        sys.stdout = sys.__stdout__ = _Printed("stdout", 1)  # type: ignore[assignment,misc]
        sys.stderr = sys.__stderr__ = _Printed("stderr", 2)  # type: ignore[assignment,misc]


def refuse(error: Exception) -> NoReturn:
    """Ends a process that cannot work as it is set up, and says why."""
    if not output.writes_json():
        sys.exit(f"Error: {error}")
    log.critical("cannot start", why=str(error))
    sys.exit(1)


def tell_failure(why: str) -> None:
    """A command failed."""
    log.critical("failed", why=why)


def tell_result(what: str) -> None:
    """A command did what it should."""
    log.info("done", what=what)


class _Printed(io.TextIOBase):
    """A stream for those who know nothing of logs: each text that they write is a line."""

    def __init__(self, name: str, fd: int) -> None:
        self._log = structlog.get_logger(name)
        self._fd = fd

    def write(self, text: str) -> int:
        if said := text.strip():
            self._log.info(said)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd


def _uncaught(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("uncaught exception", **_told(error, frames))


def _uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    thread = failed.thread.name if failed.thread is not None else None
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        log.error("uncaught exception in a thread", thread=thread, **_told(failed.exc_value, failed.exc_traceback))


def _unraisable(failed: "sys.UnraisableHookArgs") -> None:
    if failed.exc_value is not None:
        log.error("exception where none can be raised", **_told(failed.exc_value, failed.exc_traceback))


def _told(error: BaseException, frames: TracebackType | None) -> dict[str, str]:
    """The kind of an error and where it was raised; its text only if it cannot hold what a customer sent."""
    why = f": {error}" if isinstance(error, _SHOWN) else ""
    return {"error": f"{type(error).__name__}{why}", "exception": "".join(traceback.format_tb(frames))}
