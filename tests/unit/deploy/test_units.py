"""The systemd units say what a delivery engine needs them to say."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.metrics.progress import STANDS_AFTER, TELL_EVERY
from dispatcher.settings import SECRETS, Settings
from tests.deploy_files import PORTS, SYSTEMD, Unit, units
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
    held = [line for line in unit.lines if "PASSWORD" in str(line) or "_KEYS" in str(line) or "://" in str(line)]
    never_used = ("Environment", "DATABASE_URL=postgresql://nobody@localhost/dispatcher")
    assert held == [never_used for name in ("beat", "flower") if unit is UNITS[name]]


def test_each_unit_gets_the_secrets_that_it_needs_from_files_of_root() -> None:
    assert {secret: {name for name, unit in UNITS.items() if secret in unit.secrets} for secret in SECRETS} == {
        "database_url": {"migrate", "api", "deliver", "upkeep", "engine"},
        "broker_url": set(UNITS),
        "encryption_keys": {"api", "deliver", "upkeep", "engine"},
        "smtp_password": set(),  # commented out
        "metrics_token": {"api", "deliver", "upkeep", "engine"},
        "flower_password": {"flower"},
    }
    roles = {"migrate": "migrate", "api": "api", "deliver": "workers", "upkeep": "workers", "engine": "engine"}
    for name, unit in UNITS.items():
        for secret, path in unit.secrets.items():
            role = f"_{roles[name]}" if secret == "database_url" else ""
            assert path == f"/etc/dispatcher/secrets/{secret}{role}"


def test_the_command_line_on_a_server_reads_the_same_files() -> None:
    script = (SYSTEMD / "dispatcher").read_text()
    roles = set(re.findall(r"role=(\w+)", script))
    assert roles == {"migrate", "workers", "api"}
    read = {name.replace("$role", role) for name in re.findall(r"\$secrets/([\w$]+)", script) for role in roles}
    assert {f"/etc/dispatcher/secrets/{name}" for name in read - {"smtp_password"}} <= {
        path for unit in UNITS.values() for path in unit.secrets.values()
    }


@pytest.mark.parametrize("name", ["api", "deliver", "upkeep", "engine", "beat"])
def test_a_unit_whose_loop_stands_is_ended_and_one_that_stops_is_not(name: str) -> None:
    unit = UNITS[name]
    assert (unit.one("Type"), unit.one("WatchdogSec")) == ("notify", f"{STANDS_AFTER:.0f}")
    assert unit.stop_seconds < STANDS_AFTER > 3 * TELL_EVERY
    assert (unit.all("TimeoutStartSec") == ["infinity"]) == (name != "beat"), "a database that is away is waited for"


@each_unit
def test_a_unit_is_limited_in_what_it_logs_dumps_and_how_often_it_is_tried(unit: Unit) -> None:
    assert unit.one("LimitCORE") == "0"
    assert int(unit.one("LogRateLimitBurst")) / int(unit.one("LogRateLimitIntervalSec").removesuffix("s")) >= 20_000
    assert int(unit.one("RestartMaxDelaySec")) > int(unit.one("RestartSec"))
    assert int(unit.one("RestartSteps")) > 0


@pytest.mark.parametrize("name", ["deliver", "upkeep", "engine"])
def test_a_node_shows_its_metrics_on_loopback(name: str) -> None:
    words = UNITS[name].command
    shown = [words[place + 1] for place, word in enumerate(words) if word == "--metrics"]
    assert shown == [str(PORTS[node]) for node in NODES if name in {node, "engine"}]


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


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH: the units are not looked at by systemd"
)
_NEWER = re.compile(r"Unknown key '(?:RestartSteps|RestartMaxDelaySec)'")  # systemd 254; older ones leave them out


@pytest.fixture
def analyze(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    folder = tmp_path / "units"
    shutil.copytree(SYSTEMD, folder)
    for path in folder.glob("*.service"):
        path.write_text(path.read_text().replace("/opt/dispatcher/current/venv/bin/python", "/bin/true"))
    names = [str(path) for path in folder.glob("dispatcher*.*") if path.is_file()]

    def run(verb: str, *options: str, of: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["systemd-analyze", verb, *options, *(name for name in names if name.endswith(of))],
            capture_output=True,
            text=True,
            check=False,
            env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin"},
        )

    return run


@needs_systemd
def test_systemd_understands_every_line(analyze: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    said = analyze("verify").stderr.splitlines()
    assert [line for line in said if "dispatcher" in line and not _NEWER.search(line)] == []


@needs_systemd
def test_systemd_finds_the_units_hardly_exposed(analyze: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    """At most 1.5 of 10."""
    found = analyze("security", "--offline=true", "--threshold=15", of=".service")
    assert found.returncode == 0, found.stdout
