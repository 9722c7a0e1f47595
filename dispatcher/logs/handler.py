"""The handler of every line: it writes them to standard error, and not too often the same."""

import logging
import sys
from time import monotonic
from typing import TextIO

import structlog

from dispatcher.logs.repeats import Kind, Repeats

log = structlog.get_logger("dispatcher.logs")

_LOST = frozenset({"OSError", "ConnectionError", "TimeoutError", "OperationalError"})  # of Python, redis and kombu


class Lines(logging.StreamHandler[TextIO]):
    """Of warnings and errors that say the same, it leaves out those above a number. What a full disk does not take is
    lost without another word: there is no other place for one."""

    def __init__(self, stream: TextIO, repeats: Repeats) -> None:
        super().__init__(stream)
        self._repeats = repeats

    def emit(self, record: logging.LogRecord) -> None:
        if _is_of_the_broker(record):
            record.exc_info = None
        if record.levelno < logging.WARNING or self._repeats.passes(_kind(record), monotonic()):
            super().emit(record)
        if record.name != log.name:
            tell_what_was_left_out(self._repeats)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in `logging`
        """`logging`'s own prints a traceback, with whatever the line should have said."""
        error = sys.exc_info()[0]
        if record.name != log.name and error is not None and not issubclass(error, OSError):
            log.error("a line cannot be written", of=record.name, error=error.__name__)


def tell_what_was_left_out(repeats: Repeats, *, at_end: bool = False) -> None:
    """A line for each kind whose minute is over; at the end of the process, of each."""
    for kind, count in repeats.ended(float("inf") if at_end else monotonic()):
        log.warning("lines left out", of=kind.logger, said=kind.event, left_out=count)


def _is_of_the_broker(record: logging.LogRecord) -> bool:
    """Whether a line has only the traceback of a lost connection to the broker, whose kind is in its text; or of a step
    of Celery's that ends without one."""
    if record.levelno < logging.WARNING or not record.exc_info or not record.name.startswith(("celery.", "kombu.")):
        return False
    kind = record.exc_info[0]
    return record.name == "celery.bootsteps" or (kind is not None and any(of.__name__ in _LOST for of in kind.__mro__))


def _kind(record: logging.LogRecord) -> Kind:
    # Ours come as the fields of a line, those of libraries as a text that the values are not in yet.
    said = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
    return Kind(record.name, record.levelno, str(said)[:200])
