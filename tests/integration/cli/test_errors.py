"""What a person sees when something is wrong: one line, exit status 1 or 2, no traceback, no secret."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import RECEIVED, deliver_all, deliveries, make_webhook
from tests.forked import run
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver

PASSWORD = "s3cr3t-db-password"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody answers: taken, not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def dispatcher(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run("dispatcher", *arguments, environment={"PATH": os.environ["PATH"], **(environment or {})})


def test_help_needs_no_settings_and_names_every_command(tmp_path: Path) -> None:
    ran = dispatcher("--help", environment={"HOME": str(tmp_path), "COLUMNS": "200"})
    assert ran.returncode == 0
    for command in (
        "account",
        "key",
        "webhook",
        "enqueue",
        "delivery",
        "event",
        "migrate",
        "secrets",
        "settings",
        "up",
    ):
        assert f" {command} " in ran.stdout


def no_engine(folder: Path) -> str:
    return (
        f"Error: no engine runs here with its data in {folder}: start one with `./run.sh up --dev`, or set "
        "DATABASE_URL and BROKER_URL to those of another one\n"
    )


def test_without_an_engine_this_is_said_with_how_to_start_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_port: int
) -> None:
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path))
    for name in ("DATABASE_URL", "BROKER_URL"):
        monkeypatch.delenv(name)
    for command in (
        ("trigger", RECEIVED, "--account", "acme"),
        ("listen", "--register", "--account", "acme"),
        ("account", "list"),
    ):
        ran = cli(*command)
        assert (ran.status, ran.out, ran.err) == (1, "", no_engine(tmp_path))
    # One that was killed has left its addresses.
    (tmp_path / "engine.env").write_text(
        f"DATABASE_URL=postgresql://user:{PASSWORD}@127.0.0.1:{closed_port}/events\n"
        f"BROKER_URL=redis://127.0.0.1:{closed_port}/0\n"
    )
    ran = cli("account", "list")
    assert (ran.status, ran.out, ran.err) == (1, "", no_engine(tmp_path))


def test_a_setting_that_is_missing_beside_another_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROKER_URL")
    ran = cli("account", "list")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Error: BROKER_URL is not set")


WITHOUT_AIOSMTPD = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "aiosmtpd" else find(name, *more)
from dispatcher.cli import main
sys.argv[1:] = ["demo"]
main()
"""


def test_a_demo_without_the_package_that_only_it_needs_names_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_AIOSMTPD], capture_output=True, check=False, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "Error: the package 'aiosmtpd' is not installed: install it (the engine's extra `embedded` has it)\n"
    )


@pytest.mark.parametrize("command", [("account", "list"), ("webhook", "list"), ("migrate",)])
def test_a_database_that_is_away_is_one_sentence_without_credentials(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, closed_port: int, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://some-user:{PASSWORD}@127.0.0.1:{closed_port}/events")
    ran = cli(*command)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        f"Error: the database (DATABASE_URL) does not answer: postgresql://***@127.0.0.1:{closed_port}/events. "
        "Start it, or set DATABASE_URL to where it runs\n"
    )


def test_a_wrong_database_password_is_said_and_not_shown(environment: dict[str, str]) -> None:
    head, _, place = environment["DATABASE_URL"].rpartition("@")
    user = head.rpartition("//")[2].partition(":")[0]
    ran = dispatcher(
        "account", "list", environment={**environment, "DATABASE_URL": f"postgresql://{user}:{PASSWORD}@{place}"}
    )
    assert ran.returncode == 1
    assert ran.stderr == f"Error: the database refuses the user or password in DATABASE_URL: postgresql://***@{place}\n"


def test_a_password_with_characters_that_belong_escaped_does_not_leak(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for password in ("p@ss/w0rd-secret", "p?w0rd-secret", "#w0rd-secret", "w0rd-secret:1"):
        monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{password}@127.0.0.1:1/events")
        for command in (("account", "list"), ("settings",)):
            ran = cli(*command)
            assert "w0rd-secret" not in ran.out + ran.err, password
            assert "Traceback" not in ran.err, password


def test_keys_that_do_not_open_what_is_stored_are_said_at_once(
    cli: Cli, settings: Settings, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    other = cli("secrets", "generate-key").out.strip()
    monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", other)
    ran = cli("webhook", "list")
    assert ran.status == 1
    assert ran.err.startswith("Error: a stored secret cannot be opened with DISPATCHER_ENCRYPTION_KEYS")
    assert other not in ran.err


def test_with_the_broker_away_a_redelivery_is_made_all_the_same(
    environment: dict[str, str], settings: Settings, database: Engine, receiver: Receiver, closed_port: int
) -> None:
    make_webhook(database, settings, url=receiver.url("/status/404"))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    broker = f"redis://:{PASSWORD}@127.0.0.1:{closed_port}/0"
    ran = dispatcher("delivery", "redeliver", str(delivery.id), environment={**environment, "BROKER_URL": broker})
    assert ran.returncode == 0
    assert deliveries(database)[0].state == "ready"
    assert len(ran.stderr.splitlines()) == 1
    assert "the broker does not answer" in ran.stderr
    assert PASSWORD not in ran.stderr


def test_an_identifier_that_is_none_is_a_usage_error(cli: Cli) -> None:
    assert cli("delivery", "show", "17").status == 2
    assert cli("event", "show", "not-an-id").status == 2
    assert cli("webhook", "show").status == 2
    assert cli("nonsense").status == 2


def test_up_does_not_keep_data_that_is_to_be_thrown_away(cli: Cli, tmp_path: Path) -> None:
    assert cli("up", "--temporary", "--data-dir", tmp_path).status == 2
    assert list(tmp_path.iterdir()) == []
