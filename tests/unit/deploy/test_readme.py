"""deploy/README.md names what exists, and its steps make the files that units, services and pods ask for."""

import re
import subprocess
from pathlib import Path

import pytest

from dispatcher.settings import SECRETS, Settings, environment_name, read_settings
from tests.deploy_files import DEPLOY, compose, manifests, pods, services, units
from tests.integration.docs.blocks import blocks_of

README = (DEPLOY / "README.md").read_text()
KEY = "c29tZSBrZXkgb2YgdGhlIHRlc3RzLCAzMiBieXRlcyE="


def blocks(heading: str) -> list[str]:
    """The blocks of shell in a section."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [
        re.sub("^   ", "", code, flags=re.MULTILINE)
        for code in re.findall(r"```(?:ba)?sh\n(.*?)```", section, re.DOTALL)
    ]


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\[[^]]+\]\(([^)\s]+)\)", README)
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        target = DEPLOY / path if path else DEPLOY / "README.md"
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, (
            link
        )


def test_every_file_in_the_table_exists_and_every_file_is_in_it() -> None:
    table = README.split("| file | what it is |")[1].split("\n\n")[0]
    named = {name for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    assert all((DEPLOY / name).exists() for name in named)
    tracked = subprocess.run(["git", "ls-files", "."], cwd=DEPLOY, capture_output=True, text=True, check=True)
    missing = [
        path
        for path in tracked.stdout.split()
        if not any(path == name or (name.endswith("/") and path.startswith(name)) for name in named)
    ]
    assert missing == [".gitignore", "Dockerfile.dockerignore", "README.md"]


def test_the_table_of_secrets_has_each_that_is_used_with_who_gets_it() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:.*) \| (.+) \|$", README, re.MULTILINE))
    ours = {name for names in (units(), services(), pods()) for part in names.values() for name in _kept(part)}
    (example,) = [one["stringData"] for one in manifests() if one["kind"] == "Secret"]
    assert set(rows) == ours | {"smtp_password"} == set(example) | {"database_url_engine"}


def _kept(part: object) -> set[str]:
    """What the files that it gets are called where they are kept."""
    return {Path(name).name for name in part.secrets.values()}  # type: ignore[attr-defined]


def run(code: str, folder: Path) -> None:
    """Runs a block with folders of root, the password and our own programs replaced."""
    for there, here in {
        "/etc/dispatcher": str(folder),
        "/opt/dispatcher/current/deploy": str(DEPLOY),
        "/opt/dispatcher/current/venv/bin/python -P -m dispatcher secrets generate-key": f"echo {KEY}",
        "cd deploy\n": f"cp {DEPLOY}/env.example . && mkdir secrets\n",
    }.items():
        code = code.replace(there, here)
    subprocess.run(["/bin/sh", "-eu", "-c", code], cwd=folder, check=True, timeout=60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the test, with no setting in the environment."""
    for name in [*map(environment_name, Settings.model_fields), "DISPATCHER_DATA_DIR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path / "none"))
    return tmp_path


def variables(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def test_the_steps_for_systemd_make_what_each_unit_asks_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = [block.code for block in blocks_of("docs/operations.md") if block.said == "secrets"]
    (small,) = blocks("With systemd")
    values = "owner=w0rd database=127.0.0.1:5432 broker_password=w0rd broker=127.0.0.1:6379\n"
    run(values + step + small, folder)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (folder / "secrets").iterdir()} == {0o600}
    for name, unit in units().items():
        credentials = folder / f"credentials-{name}"
        credentials.mkdir()
        for file, kept in unit.secrets.items():
            (credentials / file).write_text(Path(kept.replace("/etc/dispatcher", str(folder))).read_text())
        with monkeypatch.context() as patch:
            for variable, value in {**unit.environment, **variables(folder / "dispatcher.env")}.items():
                patch.setenv(variable, value)
            patch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
            patch.delenv("DISPATCHER_FLOWER_DB", raising=False)
            settings = read_settings()
        for secret in SECRETS:
            given = unit.secrets.keys() | ({"database_url"} if name in {"beat", "flower"} else set())
            assert bool(getattr(settings, secret).get_secret_value()) == (secret in given), (name, secret)


def test_the_steps_for_compose_make_what_each_service_asks_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_step, start = blocks("With Docker Compose")
    run(settings_step.replace("cd ../..\n", ""), folder)
    made = {path.name for path in (folder / "secrets").iterdir()}
    made |= set(re.findall(r"> deploy/secrets/(\w+)", start))
    assert made == set(compose()["secrets"])
    assert {path.stat().st_mode & 0o777 for path in (folder / "secrets").iterdir()} == {0o644}
    (folder / "secrets/encryption_keys").write_text(KEY)
    for service in services().values():
        with monkeypatch.context() as patch:
            for variable, value in {**variables(folder / ".env"), **service.environment}.items():
                patch.setenv(variable, value)
            for file, kept in service.secrets.items():
                patch.setenv(f"{environment_name(file)}_FILE", str(folder / "secrets" / kept))
            patch.delenv("DISPATCHER_FLOWER_DB", raising=False)
            read_settings()
