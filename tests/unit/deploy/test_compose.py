"""compose.yaml and the Dockerfile say what a delivery engine needs them to say."""

import re
from typing import Any

import pytest

from dispatcher.settings import Settings
from tests.deploy_files import DEPLOY, ROOT, Service, compose, dockerfile, entrypoint, services, units
from workers.notices.mailer import END_TIMEOUT

SERVICES = services()
GRACE = Settings.model_fields["grace_seconds"].default
ALL: dict[str, Any] = compose()["services"]

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def test_there_is_a_service_for_each_process_of_the_engine_and_for_its_servers() -> None:
    assert set(SERVICES) == set(units()) - {"engine"}
    assert set(ALL) - set(SERVICES) == {"postgres", "valkey"}


def test_containers_and_units_run_the_same_commands() -> None:
    """But for the address they listen on, which inside a container is the container's own."""
    own_address = {"0.0.0.0", "127.0.0.1", "--address=0.0.0.0"}
    alone = {name: unit for name, unit in units().items() if name != "engine"}
    assert {
        name: [word for word in service.command if word not in own_address] for name, service in SERVICES.items()
    } == {name: [word for word in unit.command if word not in own_address] for name, unit in alone.items()}


@each_service
def test_the_main_process_gets_the_signal_itself(service: Service) -> None:
    assert isinstance(service.fields["command"], list)
    assert (service.fields["init"], service.fields["stop_signal"]) == (False, "SIGTERM")


@each_service
def test_a_service_may_do_no_more_than_it_must(service: Service) -> None:
    assert service.fields["read_only"] is True
    assert service.fields["cap_drop"] == ["ALL"]
    assert service.fields["security_opt"] == ["no-new-privileges:true"]
    assert not service.fields.get("privileged")


@each_service
def test_secrets_come_from_the_environment_file_alone(service: Service) -> None:
    assert service.fields["env_file"] == [".env"]
    for value in service.fields["environment"].values():
        assert "PASSWORD" not in re.sub(r"\$\{[A-Z]+_PASSWORD:\?[^}]+\}", "", value)
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


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
    assert ports == {"api": ["127.0.0.1:8080:8080"], "flower": ["127.0.0.1:5555:5555"]}


def test_what_must_last_is_on_a_volume() -> None:
    kept = {name: fields["volumes"][0].partition(":")[0] for name, fields in ALL.items() if "volumes" in fields}
    assert kept == {name: name for name in ("postgres", "valkey", "beat", "flower")}
    assert set(compose()["volumes"]) == set(kept)


def test_the_image_runs_as_an_ordinary_user_without_a_shell_in_between() -> None:
    instructions = dockerfile()
    assert [rest for word, rest in instructions if word == "USER"] == ["dispatcher"]
    assert entrypoint()[-2:] == ["-P", "-m"]
    assert max(n for n, (word, _) in enumerate(instructions) if word == "FROM") < instructions.index(
        ("USER", "dispatcher")
    )


def test_the_image_installs_only_what_the_lock_has_a_hash_for() -> None:
    installs = [rest for word, rest in dockerfile() if word == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert all(option in installs[0] for option in ("--require-hashes", "--no-deps", "--only-binary :all:"))


def test_what_the_image_copies_exists_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {rest.split()[0] for word, rest in dockerfile() if word == "COPY" and not rest.startswith("--from")}
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
