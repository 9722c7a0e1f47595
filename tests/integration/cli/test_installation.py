"""`dispatcher migrate`, `dispatcher settings`, `dispatcher secrets generate-key`."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from dispatcher.settings import Settings
from tests.integration.cli.conftest import Cli


def test_migrate_makes_an_empty_database_usable_and_can_be_repeated(
    cli: Cli, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS to_be_migrated"))
        connection.execute(text("CREATE DATABASE to_be_migrated"))
    url = database.url.set(database="to_be_migrated", drivername="postgresql")
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    before = cli("account", "list")
    assert (before.status, "run `dispatcher migrate`" in before.err) == (1, True)
    assert cli("migrate").status == 0
    assert cli("migrate").status == 0
    assert cli("account", "create", "acme").status == 0


def test_a_generated_key_is_a_fernet_key_and_new_each_time(cli: Cli) -> None:
    first, second = (cli("secrets", "generate-key").out.strip() for _ in range(2))
    assert first != second
    Fernet(first)


def test_settings_are_shown_with_their_variables_and_without_secrets(
    cli: Cli, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    password = tmp_path / "mail"
    password.write_text("mail-pass-1\n")
    monkeypatch.setenv("DISPATCHER_SMTP_USERNAME", "hooks")
    monkeypatch.setenv("DISPATCHER_SMTP_PASSWORD_FILE", str(password))
    monkeypatch.setenv("DISPATCHER_GATE_FAILURES", "6")
    secrets = [
        "mail-pass-1",
        settings.encryption_keys.get_secret_value(),
        "test-password",
    ]
    shown = {item["variable"]: item for item in cli("settings", "--json").document}
    assert len(shown) == len(Settings.model_fields)
    assert shown["DISPATCHER_SMTP_PASSWORD"]["value"] == "***"
    assert shown["DATABASE_URL"]["value"].startswith("postgresql+psycopg2://***@127.0.0.1:")
    sources = {variable.removeprefix("DISPATCHER_"): item["source"] for variable, item in shown.items()}
    assert sources["SMTP_PASSWORD"] == f"DISPATCHER_SMTP_PASSWORD_FILE, {password}"
    assert (sources["DATABASE_URL"], sources["LOG_LEVEL"]) == ("environment", "default")
    assert sources["CIRCUIT_BREAKER_FAILURES"] == "environment, as DISPATCHER_GATE_FAILURES"
    assert all(item["description"] for item in shown.values())
    for ran in (cli("settings"), cli("settings", "--json")):
        assert not any(secret in ran.out for secret in secrets)
