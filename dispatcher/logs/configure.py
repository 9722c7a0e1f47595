"""The logs of a process: where its lines go, in which form, from which level."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from dispatcher.logs import output
from dispatcher.logs.handler import Lines
from dispatcher.logs.repeats import Repeats
from dispatcher.logs.settings import LogSettings
from dispatcher.masking.terminal import safe_text


class _ReadableLines:
    """Renders each log entry as one line for a terminal and escapes foreign text, so that it cannot control the
    terminal. (JSON is all ASCII and does not need this.) A traceback keeps its lines."""

    def __init__(self, *, colours: bool) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, sort_keys=False)

    def __call__(self, fields: dict[str, Any]) -> str:
        safe = {
            safe_text(field): safe_text(value, lines=field == "exception") if isinstance(value, str) else value
            for field, value in fields.items()
        }
        return str(self._renderer(None, "", safe))


def configure_logs(settings: LogSettings, process: str) -> None:
    """Sends our own lines and those of every library to standard error, in one format, under the name of this process.
    Call once per process."""
    at_terminal = sys.stderr.isatty()
    is_json = settings.log_format == "json" or (settings.log_format == "auto" and not at_terminal)
    readable = _ReadableLines(colours=at_terminal and not settings.no_color)
    render: Callable[[dict[str, Any]], str] = json.JSONEncoder(default=repr).encode if is_json else readable
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
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
    repeats = Repeats()
    handler = Lines(sys.stderr, repeats)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _of_this_process,
                lambda _, __, fields: render(dict(fields)),
            ],
        )
    )
    output.current = output.Output(handler, render, is_json, repeats, process)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    if settings.log_level != "debug":
        # Flower already shows what a line for each message and each beat would say; Alembic names its own parts.
        for chatty in ("celery.beat", "celery.worker.strategy", "celery.app.trace", "alembic.runtime.plugins"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def _of_this_process(_: object, __: str, fields: EventDict) -> EventDict:
    fields.pop("color_message", None)  # uvicorn's second version of a line, for terminals
    fields["event"] = str(fields["event"]).strip()
    return output.own_fields() | dict(fields)
