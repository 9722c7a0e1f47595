"""`dispatcher doctor`: what it prints, and its exit status."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from dispatcher.db.heartbeat import DELIVERS
from dispatcher.diagnosis.checks import interpreter, trials
from dispatcher.diagnosis.checks.listed import CHECKS
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.forked import run
from tests.integration.cli.conftest import Cli, Ran
from tests.integration.diagnosis.patients import all_alive, beat
from tests.integration.diagnosis.test_engine_checks import SWEPT

SECRET = "planted-secret"
NAMES = [check.name for check in CHECKS]


def levels(ran: Ran) -> dict[str, str]:
    return {one["name"]: one["level"] for one in json.loads(ran.out)["checks"]}


@pytest.fixture
def well(database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of an installation live, and its Python has all fixes."""
    monkeypatch.setattr(interpreter, "_is_old", lambda: False)
    all_alive(database)
    for asked in SWEPT:
        beat(database, DELIVERS, asked=asked)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are processes that have loaded nearly all before they begin, which is most of what they cost."""
    usual = {"PIPE": subprocess.PIPE, "DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
    run_forked = SimpleNamespace(run=lambda argv, **_: run(*argv[3:], environment=os.environ), **usual)
    monkeypatch.setattr(trials, "subprocess", run_forked)


def test_an_installation_that_is_well_ends_with_zero_and_each_check_has_a_stable_name(cli: Cli, well: None) -> None:
    ran = cli("doctor", "--json")
    assert ran.status == 0, ran.out
    document = json.loads(ran.out)
    assert list(document) == ["level", "counts", "checks"]
    assert document["counts"] == {"ok": len(NAMES) - 3, "not_checked": 2, "warn": 1, "fail": 0}
    assert {name: level for name, level in levels(ran).items() if level != "ok"} == {
        "settings": "warn",  # of the tests
        "handshake": "not_checked",
        "mail": "not_checked",
    }
    assert list(levels(ran)) == NAMES
    assert {tuple(finding) for one in document["checks"] for finding in one["findings"]} == {
        ("level", "says", "advice", "where")
    }


def test_a_terminal_is_told_that_it_takes_some_seconds_and_a_file_is_not(
    cli: Cli, well: None, forked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("doctor").err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = cli("doctor", "--json")
    assert "trying everything" in ran.err
    assert levels(ran)["database"] == "ok"


def test_failures_end_with_one_in_words_with_what_to_do_and_without_secrets(
    cli: Cli, well: None, forked: None, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", f"redis://us:{SECRET}@127.0.0.1:{refusing_port()}/0")
    monkeypatch.setenv("DISPATCHER_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("DISPATCHER_SMTP_PORT", str(refusing_port()))
    monkeypatch.setenv("DISPATCHER_SMTP_USERNAME", "us")
    monkeypatch.setenv("DISPATCHER_SMTP_PASSWORD", SECRET)
    ran = cli("doctor")
    lines = ran.out.splitlines()
    assert ran.status == 1
    assert [line.split()[:2] for line in lines if "FAIL" in line] == [["FAIL", "broker"], ["FAIL", "mail"]]
    assert any("refuses connections" in line for line in lines)
    assert any(line.strip().startswith("-> see DISPATCHER_SMTP_HOST") for line in lines)
    assert any("broker_memory  not checked: see `broker`" in line for line in lines)
    assert lines[-1].startswith("2 failed, ")
    assert SECRET not in ran.out + ran.err


def test_a_database_that_is_away_is_one_failure(cli: Cli, well: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://us:{SECRET}@127.0.0.1:{refusing_port()}/dispatcher")
    ran = cli("doctor", "--json")
    found = levels(ran)
    assert ran.status == 1
    assert [name for name, level in found.items() if level == "fail"] == ["database"]
    groups = {check.name: check.group for check in CHECKS}
    of_database = {name for name in NAMES if groups[name] in {"database", "server", "tables", "engine"}}
    assert {found[name] for name in of_database - {"database"}} == {"not_checked"}
    assert found["broker"] == found["trust"] == "ok"
    assert SECRET not in ran.out + ran.err


def test_all_that_is_wrong_with_the_settings_is_told_and_nothing_else_is_tried(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPATCHER_SMTP_PORT", SECRET)
    monkeypatch.setenv("DISPATCHER_TIME_SCAL", "1")
    ran = cli("doctor", "--json")
    assert ran.status == 1
    assert set(levels(ran).values()) == {"fail", "not_checked"}
    (settings,) = [one for one in json.loads(ran.out)["checks"] if one["name"] == "settings"]
    assert [one["says"].split()[0] for one in settings["findings"]] == ["DISPATCHER_SMTP_PORT", "DISPATCHER_TIME_SCAL"]
    assert "DISPATCHER_TIME_SCALE" in settings["findings"][1]["says"]


@pytest.mark.parametrize("host", ["http://a.example", "https://", "a:port", ""])
def test_a_host_that_is_none_is_wrong_usage(cli: Cli, host: str) -> None:
    ran = cli("doctor", "--handshake", host)
    assert (ran.status, ran.err.startswith("Error: --handshake ")) == (2, True), ran.err
