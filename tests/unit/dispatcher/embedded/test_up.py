"""What `up` says if it is stopped while it starts, or cannot start. No server is started here."""

import re
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dispatcher.egress.address_policy import DEVELOPMENT_MODE
from dispatcher.embedded import up
from dispatcher.embedded.data_dir import DataDirectory
from dispatcher.embedded.errors import PortTaken, ServerAway
from dispatcher.embedded.process_tree import ProcessTree
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from tests.dead_ports import refusing_port

at_a_terminal_and_not = pytest.mark.parametrize("at_terminal", [True, False])


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no server."""
    for name in ("DATABASE_URL", "BROKER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def said(at_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Returns the lines that stay, without control sequences and blank ones."""

    def console(**options: Any) -> Console:
        return Console(**options, force_terminal=at_terminal, width=80, height=30, legacy_windows=False)

    monkeypatch.setattr(up, "Console", console)
    monkeypatch.setenv("TERM", "xterm")

    def lines() -> list[str]:
        not_erased = capsys.readouterr().out.rpartition("\x1b[2K")[2]
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", not_erased)
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    return lines


class Starts(AbstractContextManager[up.RunningEngine]):
    """An engine that runs until Ctrl-C, which is pressed at once."""

    def __init__(self, _plan: up.Plan, *, display: object) -> None:
        self._tree = ProcessTree()

    def __enter__(self) -> up.RunningEngine:
        self._tree.__enter__()
        signal.raise_signal(signal.SIGINT)
        servers = {"DATABASE_URL": "postgresql://", "BROKER_URL": "redis://"}
        return up.RunningEngine(self._tree, DataDirectory(Path("/data")), servers, "http://api", "http://flower")

    def __exit__(self, *of_error: Any) -> None:
        self._tree.__exit__(*of_error)


def press_ctrl_c(_server: EmbeddedPostgres) -> None:
    signal.raise_signal(signal.SIGINT)


@at_a_terminal_and_not
def test_ctrl_c_while_it_starts_is_a_stop_that_is_said_once_with_where_the_data_is(
    said: Any, at_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_PORT", "FLOWER_PORT"):
        monkeypatch.setattr(up, name, refusing_port())  # otherwise a line says which one is taken
    monkeypatch.setattr(EmbeddedPostgres, "start", press_ctrl_c)
    up.run_up(up.Plan(data_dir=tmp_path / "data"))
    lines = said()
    assert lines[0].startswith("Starting. Each line below" if not at_terminal else "Stopped.")
    assert lines[-1] == f"Stopped. Data is kept in {tmp_path}/data."
    assert sum("Stopped" in line for line in lines) == 1


@at_a_terminal_and_not
def test_nothing_is_said_to_have_stopped_that_never_started(
    said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = refusing_port()
    with pytest.raises(PortTaken):
        up.run_up(up.Plan(data_dir=tmp_path / "data", api_port=port, flower_port=port))
    assert said() == []
    monkeypatch.setenv("BROKER_URL", f"redis://127.0.0.1:{port}/0")
    with pytest.raises(ServerAway):
        up.run_up(up.Plan(data_dir=tmp_path / "data"))
    assert said() == []


@pytest.mark.parametrize("at_terminal", [True])
def test_the_warning_of_development_mode_is_wrapped_between_words(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "running_engine", Starts)
    monkeypatch.setenv("DISPATCHER_ALLOWED_NETWORKS", "127.0.0.0/8")
    up.run_up(up.Plan(), every_line=True)
    lines = said()
    (first,) = (number for number, line in enumerate(lines) if "DEVELOPMENT" in line)
    assert f"WARNING: {DEVELOPMENT_MODE}." in " ".join(lines[first:])
    assert max(map(len, lines[first : first + 3])) <= 80
