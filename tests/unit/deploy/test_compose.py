"""compose.yaml, what its servers read, and the Dockerfile say what a delivery engine needs them to say."""

import json
import os
import re
import runpy
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from dispatcher.settings import SECRETS, Settings, environment_name
from tests.deploy_files import DEPLOY, PORTS, ROOT, Service, compose, dockerfile, entrypoint, services, units
from workers.notices.mailer import END_TIMEOUT

SERVICES = services()
GRACE = Settings.model_fields["grace_seconds"].default
ALL: dict[str, Any] = compose()["services"]

OURS_LASTING = sorted(set(SERVICES) - {"migrate"})
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("schemas").joinpath("compose-spec.json").read_text())

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def test_compose_takes_it() -> None:
    found = jsonschema_rs.validator_for(SCHEMA).iter_errors(compose())
    assert [f"{list(error.instance_path)}: {error.message}" for error in found] == []


def test_there_is_a_service_for_each_process_of_the_engine_and_for_its_servers() -> None:
    assert set(SERVICES) == set(units()) - {"engine"}
    assert set(ALL) - set(SERVICES) == {"postgres", "valkey", "prometheus", "grafana"}


def _in_the_image(word: str) -> str:
    return re.sub(
        "/opt/dispatcher/current/(?=(venv/)?)", lambda found: "/opt/dispatcher/" + ("" if found[1] else "app/"), word
    )


def test_containers_and_units_run_the_same_commands() -> None:
    """But for the address they listen on, which inside a container is the container's own. An image has one release,
    whose source and environment are beside each other."""
    own_address = {"0.0.0.0", "127.0.0.1", "--address=0.0.0.0"}
    alone = {name: unit for name, unit in units().items() if name != "engine"}

    def without(words: list[str]) -> list[str]:
        return [_in_the_image(word).removeprefix("0.0.0.0:") for word in words if word not in own_address]

    assert {name: without(service.command) for name, service in SERVICES.items()} == {
        name: without(unit.command) for name, unit in alone.items()
    }


@each_service
def test_the_main_process_gets_the_signal_itself(service: Service) -> None:
    assert isinstance(service.fields["command"], list)
    assert (service.fields["init"], service.fields["stop_signal"]) == (False, "SIGTERM")


@pytest.mark.parametrize("name", ALL)
def test_a_service_may_do_and_take_no_more_than_it_must(name: str) -> None:
    fields = ALL[name]
    assert fields["read_only"] is True
    assert fields["cap_drop"] == ["ALL"]
    assert fields["security_opt"] == ["no-new-privileges:true"]
    assert not fields.get("privileged")
    assert all(fields[limit] for limit in ("mem_limit", "cpus", "pids_limit"))
    assert set(fields["logging"]["options"]) == {"max-size", "max-file"}


def test_only_what_calls_others_or_is_called_is_in_the_network_that_leads_outside() -> None:
    assert compose()["networks"] == {"servers": {"internal": True}, "outside": None}
    assert {name for name, fields in ALL.items() if "outside" in fields["networks"]} == {
        *("api", "deliver", "upkeep", "flower", "prometheus", "grafana")
    }


def test_secrets_are_files_and_only_who_needs_one_has_it() -> None:
    declared = compose()["secrets"]
    assert declared == {name: {"file": f"./secrets/{name}"} for name in declared}
    used = {one if isinstance(one, str) else one["source"] for fields in ALL.values() for one in fields["secrets"]}
    assert used == set(declared)
    assert {secret: {name for name, one in SERVICES.items() if secret in one.secrets} for secret in SECRETS} == {
        "database_url": {"migrate", "api", "deliver", "upkeep"},
        "broker_url": set(SERVICES),
        "encryption_keys": {"api", "deliver", "upkeep"},
        "smtp_password": set(),  # commented out
        "metrics_token": {"api", "deliver", "upkeep"},
        "flower_password": {"flower"},
    }
    assert {name: one.secrets["database_url"] for name, one in SERVICES.items() if "database_url" in one.secrets} == {
        "migrate": "database_url_migrate",
        "api": "database_url_api",
        "deliver": "database_url_workers",
        "upkeep": "database_url_workers",
    }
    assert (DEPLOY / "secrets/.gitignore").read_text().split() == ["*", "!.gitignore"]
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


@each_service
def test_every_variable_is_a_setting_and_a_secret_is_named_by_its_file(service: Service) -> None:
    files = {f"{environment_name(file)}_FILE": f"/run/secrets/{file}" for file in service.secrets}
    others = {name: value for name, value in service.environment.items() if name not in files}
    assert {name: service.environment[name] for name in files} == files
    assert set(others) <= {environment_name(field) for field in Settings.model_fields}
    assert others.get("DATABASE_URL", "") in {"", "postgresql://nobody@postgres/dispatcher"}


def test_what_is_commented_out_for_a_mail_password_is_what_is_needed() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    whole = yaml.safe_load(re.sub(r"# (?=.*smtp_password)(?!For)", "", text))
    upkeep = Service("upkeep", whole["services"]["upkeep"])
    assert upkeep.environment["DISPATCHER_SMTP_PASSWORD_FILE"] == "/run/secrets/smtp_password"
    assert upkeep.secrets["smtp_password"] in whole["secrets"]


@pytest.mark.parametrize("name", sorted(set(ALL) - {"migrate"}))
def test_each_service_has_a_health_check_without_a_shell(name: str) -> None:
    check = ALL[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert set(check) == {"test", "interval", "timeout", "retries", "start_period"}
    if name in PORTS:
        assert f"http://127.0.0.1:{PORTS[name]}/health" in check["test"][-1]


def test_beat_is_well_only_while_its_file_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((*_, option, code),) = SERVICES["beat"].checks
    assert option == "-c"
    script, mark = tmp_path / "check.py", tmp_path / "beat-schedule.turned"
    assert code.count(f"/var/lib/dispatcher/{mark.name}") == 1
    script.write_text(code.replace("/var/lib/dispatcher", str(tmp_path)))
    with pytest.raises(FileNotFoundError):
        runpy.run_path(str(script))
    mark.touch()
    for seconds, status in ((0, False), (120, True)):
        os.utime(mark, (time.time() - seconds,) * 2)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script))
        assert ended.value.code == status


@pytest.mark.parametrize("name", sorted(set(ALL) - {"migrate"}))
def test_what_runs_for_good_is_started_again(name: str) -> None:
    assert ALL[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_nothing_starts_before_the_database_is_migrated(name: str) -> None:
    assert SERVICES[name].fields["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"].fields["depends_on"]["postgres"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", ["deliver", "upkeep"])
def test_a_node_has_time_to_end_what_is_in_flight(name: str) -> None:
    assert SERVICES[name].stop_seconds >= GRACE + 15
    assert SERVICES["upkeep"].stop_seconds > END_TIMEOUT


def test_there_can_be_only_one_beat() -> None:
    assert ALL["beat"]["container_name"]
    assert [name for name, service in SERVICES.items() if "beat" in service.command] == ["beat"]
    assert not [name for name, service in SERVICES.items() if "-B" in service.command]


def test_every_port_is_published_on_loopback_only() -> None:
    ports = {name: fields["ports"] for name, fields in ALL.items() if "ports" in fields}
    assert ports == {
        name: [f"127.0.0.1:{number}:{number}"]
        for name, number in {"api": 8080, "flower": 5555, "prometheus": 9090, "grafana": 3000}.items()
    }


def test_what_must_last_is_on_a_volume() -> None:
    kept = {name: fields["volumes"][0].partition(":")[0] for name, fields in ALL.items() if "volumes" in fields}
    assert kept == {name: name for name in ("postgres", "valkey", "beat", "flower", "prometheus", "grafana")}
    assert set(compose()["volumes"]) == set(kept)


def test_what_is_mounted_from_here_exists_and_cannot_be_written() -> None:
    mounted = [volume.split(":") for fields in ALL.values() for volume in fields.get("volumes", []) if volume[0] == "."]
    assert len(mounted) == 4
    for path, _, mode in mounted:
        assert (DEPLOY / path).exists()
        assert mode == "ro"


def test_prometheus_asks_each_process_at_its_port_with_its_token() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (scraped,) = config["scrape_configs"]
    assert {found["names"][0]: found["port"] for found in scraped["dns_sd_configs"]} == {
        name: PORTS[name] for name in ("api", "deliver", "upkeep")
    }
    for name in ("api", "deliver", "upkeep"):
        assert str(PORTS[name]) in " ".join(SERVICES[name].command)
    assert scraped["authorization"] == {"credentials_file": "/run/secrets/metrics_token"}
    assert ALL["prometheus"]["secrets"] == ["metrics_token"]
    assert all((DEPLOY / "prometheus" / name).exists() for name in config["rule_files"])
    assert "--config.file=/etc/prometheus/prometheus.yml" in ALL["prometheus"]["command"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    folder = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/dispatcher.yaml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090"
    targets = [volume.split(":")[1] for volume in ALL["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/dispatcher.json" in targets
    assert "/etc/grafana/provisioning" in targets


def test_the_image_runs_as_an_ordinary_user_without_a_shell_in_between() -> None:
    instructions = dockerfile()
    assert [rest for word, rest in instructions if word == "USER"] == ["10001:10001"]
    assert entrypoint()[-2:] == ["-P", "-m"]
    assert max(n for n, (word, _) in enumerate(instructions) if word == "FROM") < instructions.index(
        ("USER", "10001:10001")
    )


def test_the_image_has_a_fixed_base_a_fixed_user_and_no_secret() -> None:
    instructions = dockerfile()
    (base,) = [rest for word, rest in instructions if word == "ARG" and rest.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-[a-z]+", base)
    assert {rest.split()[0] for word, rest in instructions if word == "FROM"} == {"${BASE}"}
    assert [rest for word, rest in instructions if word == "RUN" and "--uid 10001 --gid 10001" in rest]
    assert [rest for word, rest in instructions if word == "ENV"] == ["PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"]
    assert not [rest for word, rest in instructions if word == "ARG" and not rest.startswith(("BASE=", "VERSION="))]


def test_the_image_installs_only_what_the_lock_has_a_hash_for() -> None:
    installs = [rest for word, rest in dockerfile() if word == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert all(option in installs[0] for option in ("--require-hashes", "--no-deps", "--only-binary :all:"))


def test_what_the_image_copies_exists_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {rest.split()[0] for word, rest in dockerfile() if word == "COPY" and not rest.startswith("--from")}
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
