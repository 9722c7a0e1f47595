"""The data directory of a locally started engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from dispatcher.embedded.data_dir import FLOWER_PASSWORD, KEYS, DataDirectory, published
from dispatcher.embedded.errors import DataInUse, EmbeddedError
from dispatcher.settings import Settings, read_settings

ROOT = Path(__file__).parents[4]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_and_file_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with DataDirectory.at(tmp_path / "a" / "b") as directory:
            directory.lasting_secrets()
            assert mode(directory.path) == 0o700
            assert mode(directory.connection_file) == 0o600
    finally:
        os.umask(before)


def test_keys_and_flowers_password_last_while_addresses_leave_with_the_engine(tmp_path: Path) -> None:
    with DataDirectory.at(tmp_path / "engine") as directory:
        first = directory.lasting_secrets()
        directory.publish({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", **first})
        assert dotenv_values(directory.connection_file)["DATABASE_URL"] == "postgresql://u:p@127.0.0.1:1/d"
    assert dotenv_values(directory.connection_file) == first

    with DataDirectory.at(tmp_path / "engine") as again:
        assert again.lasting_secrets() == first
    assert Fernet(first[KEYS])
    assert len(first[FLOWER_PASSWORD]) >= 32


def test_given_keys_come_first_and_the_files_keys_are_never_lost(tmp_path: Path) -> None:
    given = Fernet.generate_key().decode()
    with DataDirectory.at(tmp_path / "engine") as directory:
        own = directory.lasting_secrets()[KEYS]
        assert directory.lasting_secrets(keys=given)[KEYS] == f"{given},{own}"
        assert directory.lasting_secrets(keys=given)[KEYS] == f"{given},{own}"
        assert directory.lasting_secrets()[KEYS] == f"{given},{own}"


def test_the_settings_read_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", KEYS):
        monkeypatch.delenv(name, raising=False)
    database = "postgresql://user:p%40'#$word@127.0.0.1:5/db?sslmode=disable"
    with DataDirectory.at(tmp_path / "engine") as directory:
        lasting = directory.lasting_secrets()
        directory.publish({"DATABASE_URL": database, "BROKER_URL": "redis://:a%2Fb=@127.0.0.1:6/0", **lasting})

        settings = Settings(_env_file=directory.connection_file)

    assert settings.database_url.get_secret_value() == database.replace("$", "%24").replace("://", "+psycopg2://")
    assert settings.broker_url.get_secret_value() == "redis://:a%2Fb=@127.0.0.1:6/0"
    assert settings.encryption_keys.get_secret_value() == lasting[KEYS]


def test_a_second_engine_gets_a_sentence_that_names_the_holder_until_the_first_ends(tmp_path: Path) -> None:
    with (
        DataDirectory.at(tmp_path / "engine"),
        pytest.raises(DataInUse, match=rf"in use by process {os.getpid()}: stop that engine, or choose another"),
        DataDirectory.at(tmp_path / "engine"),
    ):
        pass

    with DataDirectory.at(tmp_path / "engine"):
        pass


def test_a_killed_engine_holds_no_lock(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from dispatcher.embedded.data_dir import DataDirectory\n"
        "DataDirectory.at(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "engine"], check=False, cwd=ROOT)
    assert (tmp_path / "engine" / "engine.lock").exists()

    with DataDirectory.at(tmp_path / "engine"):
        pass


def test_a_folder_with_files_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    tmp_path.chmod(0o755)

    with pytest.raises(EmbeddedError, match="contains files that are not an engine's"), DataDirectory.at(tmp_path):
        pass

    assert mode(tmp_path) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could use a folder of somebody else")
@pytest.mark.parametrize("content", [(), ("engine.env",)])
def test_a_folder_of_another_user_is_left_to_that_user(tmp_path: Path, content: tuple[str, ...]) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    for name in content:
        (folder / name).touch()
    os.chown(folder, 4321, 4321)

    with pytest.raises(EmbeddedError, match="theirs belongs to another user: start the engine as that user"):
        DataDirectory.at(folder).__enter__()

    assert (mode(folder), folder.stat().st_uid) == (0o755, 4321)
    assert {path.name for path in folder.iterdir()} == set(content)


def test_a_temporary_folder_is_gone_afterwards() -> None:
    with DataDirectory.temporary() as directory:
        directory.lasting_secrets()
        assert mode(directory.path) == 0o700
    assert not directory.path.exists()


def test_what_is_published_is_known_while_the_engine_lives_and_not_after_it_was_killed(tmp_path: Path) -> None:
    where = tmp_path / "engine"
    assert published(where) == {}
    with DataDirectory.at(where) as directory:
        directory.publish({"DISPATCHER_API_ADDRESS": "http://127.0.0.1:8081"})
        assert published(where) == {"DISPATCHER_API_ADDRESS": "http://127.0.0.1:8081"}
    (where / "engine.env").write_text("DISPATCHER_API_ADDRESS=http://127.0.0.1:8081\n")
    assert published(where) == {}


def test_another_engines_settings_are_not_taken_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:6/0")
    monkeypatch.delenv("DISPATCHER_ALLOWED_NETWORKS", raising=False)
    here = "postgresql+psycopg2://u:p%24@127.0.0.1:1/d"
    (tmp_path / "engine.env").write_text(f"DATABASE_URL={here}\nDISPATCHER_ALLOWED_NETWORKS=127.0.0.0/8\n")
    monkeypatch.setattr("dispatcher.settings.connection_file.is_running", lambda directory: directory == tmp_path)
    for given, allowed in ((here, "127.0.0.0/8"), (here.replace("%24", "$"), "127.0.0.0/8"), (f"{here}2", "")):
        monkeypatch.setenv("DATABASE_URL", given)
        assert read_settings().allowed_networks == allowed
