import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import structlog

from dispatcher.logs import output
from dispatcher.logs.configure import configure_logs
from dispatcher.logs.group import GroupLog
from dispatcher.logs.repeats import MINUTE, MOST, Kind, Repeats
from dispatcher.logs.settings import LogSettings
from tests import hostile_values

LINES: list[tuple[int, str, dict[str, object]]] = [
    (logging.INFO, "delivered", {"type": "message.sent", "attempt": 1, "ms": 3.5, "webhook": "ü"}),
    (logging.WARNING, "discarded", {"reason": "rejected", "status": 404}),
    (logging.DEBUG, "too fine", {}),
]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    monkeypatch.setattr(output, "current", None)
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


class Own(io.StringIO):
    """What this thread writes. A server of other tests can still run in this process, and log its last requests."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        return super().write(text) if threading.get_ident() == self._thread else len(text)


def configured(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> io.StringIO:
    stream = Own()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs(LogSettings(**fields), "a process")
    return stream


def without_time(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert line.pop("timestamp").endswith("Z")
    return lines


def test_a_group_of_lines_looks_like_lines_of_any_other_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="json", log_level="info")
    for level, event, fields in LINES:
        structlog.get_logger("a.name").log(level, event, **fields)
    one_by_one = stream.getvalue()
    stream.truncate(0)
    stream.seek(0)
    GroupLog("a.name").write(LINES)
    assert without_time(stream.getvalue()) == without_time(one_by_one)
    assert [line["event"] for line in without_time(one_by_one)] == ["delivered", "discarded"]


def test_in_a_terminal_they_are_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="console", log_level="debug")
    GroupLog("a.name").write(LINES)
    assert len(stream.getvalue().splitlines()) == 3
    assert "delivered" in stream.getvalue()
    assert "status=404" in stream.getvalue()


def test_below_the_level_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="json", log_level="error")
    GroupLog("a.name").write(LINES)
    assert stream.getvalue() == ""


def test_a_full_disk_under_the_log_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    configured(monkeypatch, log_format="json", log_level="info")
    monkeypatch.setattr(logging.getLogger().handlers[0], "stream", Full())
    monkeypatch.setattr(logging, "raiseExceptions", False)
    GroupLog("a.name").write(LINES)
    GroupLog("a.name").write(LINES)  # nobody holds the handler's lock


def said(monkeypatch: pytest.MonkeyPatch, log_format: str, text: str) -> str:
    """What stands in the log when each kind of logger is given a text in each place."""
    stream = configured(monkeypatch, log_format=log_format, log_level="info")
    structlog.get_logger("ours").warning(text, value=text, values=[text], error=ValueError(text), **{text: 1})
    logging.getLogger("a library").warning("it says %s", text, extra={"value": text})
    GroupLog("group").write([(logging.INFO, text, {"value": text, text: 1})])
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger("ours").exception("failed")
        logging.getLogger("a library").exception("failed")
    return stream.getvalue()


@pytest.mark.parametrize("text", hostile_values.ALL.values(), ids=hostile_values.ALL)
def test_nothing_written_to_the_log_makes_lines_or_steers_a_terminal(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    lines = said(monkeypatch, "json", text).splitlines()
    assert len(lines) == 5
    assert all(line.isascii() for line in lines)
    assert {json.loads(line).get("value", text) for line in lines} == {text}
    readable = said(monkeypatch, "console", text)
    assert not hostile_values.steering(readable)
    # Only a traceback has lines of its own.
    assert len(readable.partition("Traceback")[0].splitlines()) == 4


def test_unconfigured_it_is_any_logger() -> None:
    with structlog.testing.capture_logs() as captured:
        GroupLog("a.name").write(LINES)
    assert [line["event"] for line in captured] == ["delivered", "discarded", "too fine"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "chosen", "is_json"),
    [
        (io.StringIO, {}, True),
        (Terminal, {}, False),
        (Terminal, {"log_format": "json"}, True),
        (io.StringIO, {"log_format": "console"}, False),
    ],
)
def test_lines_are_readable_at_a_terminal_and_json_elsewhere_unless_something_else_is_set(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], chosen: dict[str, str], is_json: bool
) -> None:
    written = stream()
    monkeypatch.setattr("sys.stderr", written)
    configure_logs(LogSettings(**chosen), "a process")
    structlog.get_logger("a.name").info("said", value=1)
    assert written.getvalue().startswith("{") == is_json


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_unless_nobody_wants_any(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stderr", written := Terminal())
    configure_logs(LogSettings(), "a process")
    structlog.get_logger("a.name").info("said")
    assert ("\x1b[" in written.getvalue()) == coloured
    assert "\x1b" not in said(monkeypatch, "console", "a text")  # no terminal


def test_what_is_set_wrongly_is_as_if_it_was_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_LOG_FORMAT", "yaml")
    monkeypatch.setenv("DISPATCHER_LOG_LEVEL", "warning")
    assert (LogSettings().log_format, LogSettings().log_level) == ("auto", "warning")


def test_every_line_says_which_process_wrote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="json")
    structlog.get_logger("ours").info("said")
    logging.getLogger("a library").warning("said")
    GroupLog("group").write([(logging.INFO, "said", {})])
    output.name_process("another")
    structlog.get_logger("dispatcher.processes").info("process started", process="a child", pid=7)
    GroupLog("group").write([(logging.INFO, "said", {"process": "a child", "pid": 7})])
    lines = without_time(stream.getvalue())
    assert [(line["process"], line["pid"]) for line in lines] == [("a process", os.getpid())] * 3 + [("a child", 7)] * 2


def test_at_a_terminal_only_a_process_among_others_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="console")
    structlog.get_logger("ours").info("said")
    assert "process" not in stream.getvalue()
    output.name_process("one of them", among_others=True)
    structlog.get_logger("ours").info("said")
    assert "process" in stream.getvalue()
    assert "one of them" in stream.getvalue()


def test_a_failure_that_is_told_a_thousand_times_a_second_is_written_a_few_times_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("dispatcher.logs.handler.monotonic", lambda: now)
    stream = configured(monkeypatch, log_format="json")
    for number in range(1000):
        structlog.get_logger("ours").error("it fails", delivery=str(number))
        logging.getLogger("a library").warning("it fails %d", number)
    structlog.get_logger("ours").error("something else fails")
    for _ in range(1000):
        structlog.get_logger("ours").info("it works")
    events = [(line["logger"], line["event"]) for line in without_time(stream.getvalue())]
    assert events.count(("ours", "it fails")) == MOST
    assert len([event for event in events if event[0] == "a library"]) == MOST
    assert events.count(("ours", "something else fails")) == 1
    assert events.count(("ours", "it works")) == 1000
    now += MINUTE
    GroupLog("group").write([(logging.INFO, "delivered", {})])
    left_out = [line for line in without_time(stream.getvalue()) if line["event"] == "lines left out"]
    assert [(line["of"], line["said"], line["left_out"]) for line in left_out] == [
        ("ours", "it fails", 1000 - MOST),
        ("a library", "it fails %d", 1000 - MOST),
    ]
    structlog.get_logger("ours").error("it fails")
    assert without_time(stream.getvalue())[-1]["event"] == "it fails"


def test_lines_of_a_record_are_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="json")
    GroupLog("group").write([(logging.WARNING, "discarded", {})] * 1000)
    assert len(stream.getvalue().splitlines()) == 1000


def test_what_was_left_out_is_told_once_and_nothing_is_kept_of_it() -> None:
    repeats, kind = Repeats(), Kind("a.name", logging.ERROR, "it fails")
    assert [repeats.passes(kind, 0.0) for _ in range(MOST + 2)] == [True] * MOST + [False] * 2
    assert repeats.ended(MINUTE - 0.1) == []
    assert repeats.ended(MINUTE) == [(kind, 2)]
    assert repeats.ended(2 * MINUTE) == []
    assert repeats == Repeats(_lock=repeats._lock)


def test_a_lost_connection_to_the_broker_has_no_traceback_and_other_errors_of_libraries_have_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = configured(monkeypatch, log_format="json")
    for error in (
        redis.ConnectionError("refused"),
        ConnectionResetError(),
        redis.TimeoutError(),
        ValueError("a defect"),
    ):
        try:
            raise error
        except Exception as raised:
            logging.getLogger("celery.worker.pidbox").exception("Control command error: %r", raised)
    lines = without_time(stream.getvalue())
    assert ["exception" in line for line in lines] == [False, False, False, True]
    assert "ConnectionError" in lines[0]["event"]


def test_a_line_whose_values_do_not_fit_is_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured(monkeypatch, log_format="json")
    logging.getLogger("a library").warning("%d", "no number")
    (line,) = without_time(stream.getvalue())
    assert (line["event"], line["of"], line["error"]) == ("a line cannot be written", "a library", "TypeError")
