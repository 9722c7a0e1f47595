"""Hostile values in the environment: refused by the name of the variable, or used and shown without harm."""

import os
from pathlib import Path

import pytest

from dispatcher.cli.admin import masked_setting
from dispatcher.cli.output import shown
from dispatcher.egress.address_policy import ANY_ADDRESS, DEVELOPMENT_MODE
from dispatcher.embedded.data_dir import DataDirectory
from dispatcher.embedded.up import Plan, running_engine
from dispatcher.errors import ConfigurationError, WrongSettings
from dispatcher.masking.terminal import safe_text
from dispatcher.settings import RENAMED, Settings, environment_name, read_settings, without_files
from tests import hostile_values
from tests.conftest import ENCRYPTION_KEY

WORKING = {
    "DATABASE_URL": "postgresql://user:word@127.0.0.1/name",
    "BROKER_URL": "redis://:word@127.0.0.1:6379/0",
    "DISPATCHER_ENCRYPTION_KEYS": ENCRYPTION_KEY,
}
VALUES = [
    text for text in hostile_values.ALL.values() if "\0" not in text and "\ud800" not in text and text != "\udfff"
]
NUMBERS = ["nan", "inf", "-inf", "1e999", "-1", "0", "9" * 5_000, "9" * 300, "1_0", "0x10", "١"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path))
    for variable, value in WORKING.items():
        monkeypatch.setenv(variable, value)


@pytest.mark.parametrize("values", [VALUES, NUMBERS], ids=["texts", "numbers"])
def test_a_hostile_setting_is_refused_by_its_name_or_shown_without_harm(
    monkeypatch: pytest.MonkeyPatch, values: list[str]
) -> None:
    """All settings have the value at first, then those that are not refused with it: a read for each would be
    thousands."""
    for value in values:
        hostile = {environment_name(name): name for name in Settings.model_fields}
        while isinstance(settings := settings_with(dict.fromkeys(hostile, value), monkeypatch), WrongSettings):
            assert settings.lines
            for line in settings.lines:
                assert hostile.pop(line.split()[0], None), line
                assert values is NUMBERS or value not in line
                assert not hostile_values.steering(line)
                assert len(line) < 300
        for name in hostile.values():
            text = safe_text(shown(masked_setting(name, getattr(settings, name))))
            assert not hostile_values.steering(text, allowed=""), name
            if name in {"idempotency_hours", "time_scale"}:
                assert 0 < getattr(settings, name) <= 87_600


def settings_with(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings | WrongSettings:
    with monkeypatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        try:
            return read_settings()
        except WrongSettings as refused:
            return refused


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_setting_is_read_by_its_old_name_with_a_warning_and_the_new_name_goes_first(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    field = next(name for name in Settings.model_fields if environment_name(name) == new)
    assert read_settings().warnings == []
    monkeypatch.setenv(old, "17")
    settings = read_settings()
    assert (getattr(settings, field), settings.warnings) == (17, [f"{old} is called {new} now: rename it"])
    monkeypatch.setenv(new, "18")
    assert getattr(read_settings(), field) == 18


def test_a_bad_value_is_reported_under_the_name_that_the_operator_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = "DISPATCHER_GATE_FAILURES", "DISPATCHER_CIRCUIT_BREAKER_FAILURES"
    monkeypatch.setenv(old, "many")
    for read in (read_settings, running_engine(Plan(temporary=True)).__enter__):
        with pytest.raises(ConfigurationError, match=rf"^{old}, which is called {new} now, must be a whole number\."):
            read()
    monkeypatch.setenv(new, "lots")
    with pytest.raises(ConfigurationError, match=rf"^{new} must be a whole number\."):
        read_settings()


@pytest.mark.parametrize(
    ("networks", "warned"),
    [("127.0.0.0/8,::1", True), ("10.0.0.0/8, 0.0.0.0/0", True), ("127.0.0.1,10.0.0.0/8", False)],
)
def test_development_mode_is_among_the_warnings(monkeypatch: pytest.MonkeyPatch, networks: str, warned: bool) -> None:
    monkeypatch.setenv("DISPATCHER_ALLOWED_NETWORKS", networks)
    assert read_settings().warnings == [DEVELOPMENT_MODE] * warned
    monkeypatch.setenv("DISPATCHER_UNSAFE_ALLOW_ANY_ADDRESS", "true")
    assert read_settings().warnings == [ANY_ADDRESS, *[DEVELOPMENT_MODE] * warned]


@pytest.mark.parametrize(
    "url",
    ["", "https://hooks.example.com", "http://127.0.0.1:8080/api/v2", "https://[::1]:8443", "http://Localhost/.a"],
)
def test_an_address_of_ours_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DISPATCHER_PUBLIC_URL", url)
    assert read_settings().public_url == url


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example.com",
        "ftp://hooks.example.com",
        "https://",
        "https:///api",
        "https://hooks.example.com/",
        "https://hooks.example.com/api/",
        "https://user:word@hooks.example.com",
        "https://hooks.example.com/api?a=b",
        "https://hooks.example.com#a",
        "https://hooks.example.com:0",
        "https://hooks.example.com:65536",
        "https://hooks.example.com/a b",
        "https://hooks.example.com\nX: y",
        "https://hooks.example.com/../api",
        "https://hooks.example.com/api/.",
        "https://..",
        "https://-",
        "https://hooks..example.com",
        "https://-hooks.example.com",
        "https://hooks.example.com.",
        "https://999.1.1.1",
        "https://127.1",
        "https://[::zz]",
        "https://[:]",
        "https://[1.2.3.4]",
    ],
)
def test_what_cannot_be_an_address_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DISPATCHER_PUBLIC_URL", url)
    with pytest.raises(ConfigurationError, match=r"DISPATCHER_PUBLIC_URL must (be http|not contain line ends)"):
        read_settings()


@pytest.mark.parametrize("spelling", ["DATABASE_URL", "database_url"])
@pytest.mark.parametrize("its_own", ["", "DATABASE_URL=postgresql://user:word@127.0.0.1/another\n"])
def test_the_file_of_an_engine_says_nothing_about_another_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spelling: str, its_own: str
) -> None:
    """What `up --dev` allowed is in the file until a stop, and after a kill."""
    allowed = "DISPATCHER_ALLOWED_NETWORKS=127.0.0.0/8\n"
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv(spelling, WORKING["DATABASE_URL"])
    with DataDirectory.at(tmp_path) as directory:
        directory.connection_file.write_text(its_own + allowed)
        assert read_settings().allowed_networks == ""
        directory.connection_file.write_text(f"DATABASE_URL={WORKING['DATABASE_URL']}\n{allowed}")
        assert read_settings().allowed_networks == "127.0.0.0/8"
        assert read_settings().warnings == [DEVELOPMENT_MODE]
    directory.connection_file.write_text(f"DATABASE_URL={WORKING['DATABASE_URL']}\n{allowed}")
    assert read_settings().allowed_networks == "", "no engine runs"


@pytest.mark.parametrize("own", ["DISPATCHER_DATABASE_URL", "DISPATCHER_BROKER_URL"])
def test_an_address_has_a_name_of_its_own_that_goes_before_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str
) -> None:
    """`DATABASE_URL` may be that of the program that enqueues."""
    usual, url = own.removeprefix("DISPATCHER_"), "postgresql://user:word@10.0.0.1/name"
    url = url if usual == "DATABASE_URL" else "redis://:word@10.0.0.1:6379/0"
    field = usual.lower()

    def read() -> str:
        secret = getattr(read_settings(), field).get_secret_value()
        assert read_settings().warnings == []
        return str(secret).replace("+psycopg2", "")

    monkeypatch.setenv(own, "")  # an empty line is none
    assert read() == WORKING[usual]
    monkeypatch.setenv(own, url)
    assert read() == url
    monkeypatch.setenv(usual, "mysql://a.program's/own")
    monkeypatch.setenv(f"{usual}_FILE", "/nowhere")
    assert read() == url
    assert without_files(dict(os.environ))[usual] == url
    assert without_files(dict(os.environ)).keys().isdisjoint({own, f"{usual}_FILE"})
    kept = tmp_path / "kept"
    kept.write_text(url)
    monkeypatch.setenv(f"{own}_FILE", str(kept))
    with pytest.raises(ConfigurationError, match=f"^{own} is given more than once, by {own} and {own}_FILE: keep one"):
        read()
    monkeypatch.delenv(own)
    assert read() == url
    monkeypatch.delenv(f"{own}_FILE")
    monkeypatch.delenv(f"{usual}_FILE")
    monkeypatch.setenv(own, "sqlite:///")
    with pytest.raises(ConfigurationError, match=f"^{own} must be a"):
        read()


def test_settings_that_are_chosen_in_code_come_before_the_environment_and_are_told_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = read_settings(database_url="postgresql://user:word@10.0.0.1/name", idempotency_hours=400)
    assert "10.0.0.1" in settings.database_url.get_secret_value()
    assert (settings.broker_url.get_secret_value(), settings.idempotency_hours) == (WORKING["BROKER_URL"], 400)
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL must be a PostgreSQL URL"):
        read_settings(database_url="mysql://user:word@10.0.0.1/name")
    with pytest.raises(ConfigurationError, match=r"^databas_url is not a setting: did you mean database_url\?$"):
        read_settings(databas_url="")
    with pytest.raises(ConfigurationError, match=r"^x is not a setting$"):
        read_settings(x=1)
    monkeypatch.delenv("BROKER_URL")
    with DataDirectory.at(tmp_path) as directory:
        directory.connection_file.write_text("".join(f"{name}={value}\n" for name, value in WORKING.items()))
        with pytest.raises(ConfigurationError, match=r"^BROKER_URL is not set"):
            read_settings(database_url="postgresql://user:word@10.0.0.1/name")
        assert read_settings(idempotency_hours=400).broker_url.get_secret_value() == WORKING["BROKER_URL"]
