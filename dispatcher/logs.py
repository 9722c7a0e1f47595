"""Structured logs: one JSON object, or one readable line, for each thing that happens."""

import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from dispatcher.masking.terminal import safe_text
from dispatcher.settings import Settings


class GroupLog:
    """A logger for many lines at once: what the workers log about each attempt. The lines look like those of any other
    logger, but a group is rendered directly and written at once, for a fifth of the cost."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, lines: Iterable[tuple[int, str, dict[str, object]]]) -> None:
        """Writes lines of (level of `logging`, what happened, its fields)."""
        if _direct is None:
            logger = structlog.get_logger(self._name)
            for level, event, fields in lines:
                logger.log(level, event, **fields)
            return
        enabled = logging.getLogger(self._name).getEffectiveLevel()
        common = {"logger": self._name, "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
        texts = [
            _direct.render(fields | {"event": event, "level": logging.getLevelName(level).lower()} | common)
            for level, event, fields in lines
            if level >= enabled
        ]
        if texts:
            _direct.handler.acquire()
            try:
                _direct.handler.stream.write("\n".join(texts) + "\n")
                _direct.handler.flush()
            except OSError:
                _direct.handler.handleError(_LOST)  # as for a single line that cannot be written
            finally:
                _direct.handler.release()


class _ReadableLines:
    """Renders each log entry as one line for a terminal and escapes foreign text, so that it cannot control the
    terminal. (JSON is all ASCII and does not need this.) A traceback keeps its lines."""

    def __init__(self, renderer: structlog.dev.ConsoleRenderer) -> None:
        self._renderer = renderer

    def __call__(self, logger: object, name: str, fields: EventDict) -> str:
        safe = {
            safe_text(field): safe_text(value, lines=field == "exception") if isinstance(value, str) else value
            for field, value in fields.items()
        }
        return self._renderer(logger, name, safe)


@dataclass(frozen=True, slots=True)
class _Direct:
    handler: logging.StreamHandler[TextIO]
    render: Callable[[dict[str, object]], str]


_direct: _Direct | None = None  # set once the logs are configured
_LOST = logging.LogRecord(__name__, logging.ERROR, __file__, 0, "a group of lines", None, None)


def is_configured() -> bool:
    """Whether this process's logs are: otherwise they are somebody else's, a test's for instance."""
    return _direct is not None


def configure_logs(settings: Settings) -> None:
    """Sends our own lines and those of every library to standard error, in one format. Call once per process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else _ReadableLines(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, sort_keys=False))
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    global _direct  # noqa: PLW0603 - it belongs to the process, like the configuration of `logging`
    _direct = _Direct(
        handler,
        json.JSONEncoder(default=repr).encode
        if settings.log_format == "json"
        else lambda fields: str(renderer(None, "", fields)),
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    if settings.log_level != "debug":
        # Flower already shows what a line for each message and each beat would say.
        for chatty in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
