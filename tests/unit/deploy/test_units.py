"""The systemd units say what a delivery engine needs them to say."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dispatcher.settings import Settings
from tests.deploy_files import SYSTEMD, Unit, units
from workers.notices.mailer import END_TIMEOUT

UNITS = units()
GRACE = Settings.model_fields["grace_seconds"].default
NODES = ("deliver", "upkeep")

each_unit = pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)


def test_there_is_a_unit_for_each_process_of_the_engine() -> None:
    assert set(UNITS) == {"api", "beat", "deliver", "flower", "migrate", "upkeep", "engine"}


def test_the_unit_for_a_small_server_runs_what_four_others_run_and_never_beside_them() -> None:
    engine, (api, *others) = UNITS["engine"], [UNITS[name] for name in ("api", "deliver", "upkeep", "beat")]
    assert engine.command[:4] == [*others[0].command[:3], "workers"]
    assert engine.command[4:] == ["api", *api.command[4:], *[word for unit in others for word in unit.command[4:]]]
    assert engine.one("Conflicts").split() == [unit.name for unit in (api, *others)]
    assert engine.stop_seconds == max(unit.stop_seconds for unit in (api, *others))


@each_unit
def test_a_unit_signals_its_main_process_only(unit: Unit) -> None:
    assert (unit.one("KillMode"), unit.one("KillSignal")) == ("mixed", "SIGTERM")


@each_unit
def test_a_unit_runs_as_a_user_of_its_own_with_settings_from_a_file(unit: Unit) -> None:
    assert unit.one("User") == unit.one("Group") == "dispatcher"
    assert unit.one("EnvironmentFile") == "/etc/dispatcher/dispatcher.env"
    assert unit.one("WorkingDirectory") == f"/var/lib/{unit.one('StateDirectory')}"
    assert (unit.one("NoNewPrivileges"), unit.one("ProtectSystem"), unit.one("PrivateTmp")) == ("yes", "strict", "yes")
    assert int(unit.one("LimitNOFILE")) >= 65_536


@each_unit
def test_a_unit_belongs_to_the_target(unit: Unit) -> None:
    assert unit.one("PartOf") == unit.one("WantedBy") == "dispatcher.target"


@each_unit
def test_no_unit_holds_a_secret(unit: Unit) -> None:
    assert not [line for line in unit.lines if "PASSWORD" in str(line) or "_KEYS" in str(line) or "://" in str(line)]


@pytest.mark.parametrize("name", sorted(set(UNITS) - {"migrate"}))
def test_what_runs_for_good_is_started_again_and_again_after_the_migration(name: str) -> None:
    unit = UNITS[name]
    assert (unit.one("Restart"), unit.one("StartLimitIntervalSec")) == ("always", "0")
    assert "dispatcher-migrate.service" in unit.all("After")


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_time_to_end_what_is_in_flight(name: str) -> None:
    assert UNITS[name].stop_seconds >= GRACE + 15


def test_the_mail_node_has_time_for_the_last_answer_of_a_mail_server() -> None:
    assert UNITS["upkeep"].stop_seconds > END_TIMEOUT


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_a_stable_name(name: str) -> None:
    """The one that the command gives it, on each server its own."""
    assert "-n" not in UNITS[name].command


def test_the_two_nodes_share_all_queues_out() -> None:
    """Which queues each takes is a test of the command itself."""
    assert [UNITS[name].command[3:5] for name in NODES] == [["workers", "deliver"], ["workers", "maintenance"]]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    shutil.copytree(SYSTEMD, tmp_path / "units")
    for path in (tmp_path / "units").glob("*.service"):
        path.write_text(path.read_text().replace("/opt/dispatcher/venv/bin/python", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(path for path in (tmp_path / "units").glob("*.*") if path.is_file())],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:", "PATH": "/usr/bin:/bin"},
    )
    ours = [line for line in verified.stderr.splitlines() if "dispatcher" in line]
    assert not ours
