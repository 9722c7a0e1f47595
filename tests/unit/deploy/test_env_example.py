"""`deploy/env.example` is generated from the settings, and is a file that can be used."""

import re
from pathlib import Path

import pytest

from dispatcher.cli.env_example import settings_example
from dispatcher.errors import WrongSettings
from dispatcher.settings import Settings, environment_name, read_settings
from tests.deploy_files import DEPLOY

EXAMPLE = (DEPLOY / "env.example").read_text()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)


def test_the_committed_file_is_the_generated_one() -> None:
    assert settings_example() == EXAMPLE, "run: python -m dispatcher.cli.env_example > deploy/env.example"


def test_it_names_every_setting_once_with_what_it_is_for() -> None:
    found = re.findall(r"^(?:# )?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(found) == sorted(environment_name(name) for name in Settings.model_fields)
    words = " ".join(EXAMPLE.replace("# ", " ").split())
    for field in Settings.model_fields.values():
        assert field.description
        assert field.description in words


def test_what_an_operator_must_fill_in_is_not_commented_out() -> None:
    assert re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE) == [
        "DATABASE_URL",
        "BROKER_URL",
        "DISPATCHER_ENCRYPTION_KEYS",
        "DISPATCHER_FLOWER_PASSWORD",
    ]


def test_what_is_commented_out_are_the_defaults(tmp_path: Path) -> None:
    unset = re.compile(r"^# ([A-Z_]+)=$", re.MULTILINE)  # "no file" cannot be written as a value
    used = tmp_path / "env"
    filled_in = EXAMPLE.replace("PASSWORD@", "word@")
    used.write_text(re.sub(r"^# ([A-Z_]+=)", r"\1", unset.sub("", filled_in), flags=re.MULTILINE))
    assert Settings(_env_file=used) == Settings(
        database_url="postgresql://dispatcher:word@127.0.0.1:5432/dispatcher",  # type: ignore[arg-type]
        broker_url="redis://:word@127.0.0.1:6379/0",  # type: ignore[arg-type]
    )


def test_what_is_not_filled_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path))
    for name, value in re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE):
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings) as refused:
        read_settings()
    assert [line.partition(" ")[0] for line in refused.value.lines] == ["DATABASE_URL", "BROKER_URL"]
    assert all("is still a placeholder" in line for line in refused.value.lines)
