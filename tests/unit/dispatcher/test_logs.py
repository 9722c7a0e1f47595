import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from cryptography.fernet import Fernet

import dispatcher.logs
from dispatcher.logs import GroupLog, configure_logs
from dispatcher.settings import Settings
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
    monkeypatch.setattr(dispatcher.logs, "_direct", None)
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
    given = {"database_url": "postgresql+psycopg2://h/d", "broker_url": "redis://h", **fields}
    configure_logs(Settings(encryption_keys=Fernet.generate_key().decode(), **given))
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
