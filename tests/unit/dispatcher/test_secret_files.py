"""Secrets that are in files, or are credentials of systemd."""

import json
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from dispatcher.errors import WrongSettings
from dispatcher.settings import Settings, check_environment, environment_name, read_settings, without_files
from dispatcher.settings.names import SECRETS, file_variable
from dispatcher.settings.secret_files import MAX_BYTES

KEY = "b3VyICBrZXlvdXIgIGtleW91ciAga2V5b3VyICBrZXk="
VALUES = {
    "database_url": "postgresql://user:from-a-file@127.0.0.1/name",
    "broker_url": "redis://:from-a-file@127.0.0.1:6379/0",
    "encryption_keys": KEY,
    "smtp_password": "from a file: # ' $x",
    "metrics_token": "from-a-file-of-32-characters",
    "flower_password": "from-a-file",
}


def test_each_secret_can_be_in_a_file() -> None:
    assert {name for name, info in Settings.model_fields.items() if info.annotation is SecretStr} == set(SECRETS)
    assert VALUES.keys() == set(SECRETS)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every secret is a value of the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path / "no-engine-here"))
    monkeypatch.setenv("DISPATCHER_SMTP_USERNAME", "hooks")
    for name, value in VALUES.items():
        monkeypatch.setenv(environment_name(name), value.replace("from", "given"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file for each secret, by its field's name, as systemd has credentials."""
    made = tmp_path / "credentials"
    made.mkdir()
    for name, value in VALUES.items():
        made.joinpath(name).write_text(f"{value}\n")
    return made


def read_secret(name: str) -> str:
    secret = getattr(read_settings(), name).get_secret_value()
    assert isinstance(secret, str)
    return secret.replace("+psycopg2", "")


def refused() -> str:
    with pytest.raises(WrongSettings) as error:
        read_settings()
    (line,) = error.value.lines
    return line


def test_every_secret_can_be_in_a_file() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert set(SECRETS) == secret


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("empty", [True, False])
def test_a_secret_is_read_from_the_file_that_its_variable_names(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, empty: bool
) -> None:
    """A line `NAME=` of an environment file is no value."""
    if empty:
        monkeypatch.setenv(environment_name(name), "")
    else:
        monkeypatch.delenv(environment_name(name))
    monkeypatch.setenv(file_variable(name), str(folder / name))
    assert read_secret(name) == VALUES[name]


def test_credentials_are_found_by_the_names_of_the_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in SECRETS:
        monkeypatch.delenv(environment_name(name))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert {name: read_secret(name) for name in SECRETS} == VALUES


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    variable = environment_name(name)
    monkeypatch.setenv(file_variable(name), str(folder / name))
    assert refused() == f"{variable} is given more than once, by {variable} and {variable}_FILE: keep one of them"
    monkeypatch.delenv(file_variable(name))
    for other in set(SECRETS) - {name}:
        folder.joinpath(other).unlink()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert refused() == (
        f"{variable} is given more than once, by {variable} and the credential {name}: keep one of them"
    )


WRONG_FILES = {
    "missing": (lambda path: None, "No such file or directory"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "empty": (lambda path: path.write_text("\n"), "it is empty"),
    "large": (lambda path: path.write_text("x" * (MAX_BYTES + 1)), f"it is larger than {MAX_BYTES // 1024} kB"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe"), "it is not UTF-8 text"),
}


@pytest.mark.parametrize(
    ("way", "wrong"),
    [
        (way, wrong)
        for way in ("file", "credential")
        for wrong in WRONG_FILES
        if (way, wrong) != ("credential", "missing")
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_variable_and_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str, way: str
) -> None:
    make, why = WRONG_FILES[wrong]
    path = tmp_path / "smtp_password"
    make(path)
    monkeypatch.delenv("DISPATCHER_SMTP_PASSWORD")
    if way == "file":
        monkeypatch.setenv("DISPATCHER_SMTP_PASSWORD_FILE", str(path))
    else:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    named = "DISPATCHER_SMTP_PASSWORD_FILE" if way == "file" else "the credential smtp_password"
    assert refused() == f"DISPATCHER_SMTP_PASSWORD cannot be read from its file ({named}, {path}): {why}"


def test_a_wrong_value_is_told_with_its_file(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("DISPATCHER_ENCRYPTION_KEYS")
    folder.joinpath("encryption_keys").write_text(KEY[:-5])
    monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS_FILE", str(folder / "encryption_keys"))
    line = refused()
    assert f"from a file (DISPATCHER_ENCRYPTION_KEYS_FILE, {folder}/encryption_keys)" in line
    assert KEY[:10] not in line


@pytest.mark.parametrize("way", ["files", "credentials"])
def test_children_are_given_the_secrets_themselves(monkeypatch: pytest.MonkeyPatch, folder: Path, way: str) -> None:
    """Of `up`: they start in another folder."""
    for name in SECRETS:
        monkeypatch.delenv(environment_name(name))
        if way == "files":
            monkeypatch.setenv(file_variable(name), str(folder / name))
    if way == "credentials":
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    given = without_files(dict(os.environ))
    assert {name: given[environment_name(name)] for name in SECRETS} == VALUES
    assert not {file_variable(name) for name in SECRETS} & given.keys()
    assert "CREDENTIALS_DIRECTORY" not in given
    assert check_environment(given).smtp_password.get_secret_value() == VALUES["smtp_password"]
    folder.joinpath("smtp_password").unlink()
    if way == "files":
        with pytest.raises(WrongSettings, match="DISPATCHER_SMTP_PASSWORD cannot be read from its file"):
            check_environment(without_files(dict(os.environ)))


def test_a_secret_of_a_file_is_in_no_representation(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(folder / "database_url"))
    shown = f"{read_settings()!r} {json.dumps(read_settings().model_dump(mode='json'))}"
    assert "from-a-file" not in shown
