"""The contents of `deploy/`: units and services as values, and their command lines as this machine can start them."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SYSTEMD = DEPLOY / "systemd"

API_PORT, FLOWER_PORT = "8080", "5555"


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit: its lines by key, in order, including the lines that all units share."""

    name: str
    lines: tuple[tuple[str, str], ...]

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.lines if name == key]

    def one(self, key: str) -> str:
        (value,) = self.all(key)
        return value

    @property
    def command(self) -> list[str]:
        assert self.one("ExecStart").count("%") == 2 * self.one("ExecStart").count("%%"), "no other specifiers"
        return shlex.split(self.one("ExecStart").replace("%%", "%"))

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.all("Environment"))

    @property
    def stop_seconds(self) -> int:
        return int(self.one("TimeoutStopSec"))


@dataclass(frozen=True, slots=True)
class Service:
    """A service of compose.yaml that runs our own image."""

    name: str
    fields: dict[str, Any]

    @property
    def command(self) -> list[str]:
        return [*entrypoint(), *self.fields["command"]]

    @property
    def environment(self) -> dict[str, str]:
        """The variables it sets besides the addresses of database and broker."""
        return {
            name: value
            for name, value in self.fields["environment"].items()
            if name not in {"DATABASE_URL", "BROKER_URL"}
        }

    @property
    def stop_seconds(self) -> int:
        return int(self.fields["stop_grace_period"].removesuffix("s"))


def units() -> dict[str, Unit]:
    """The services of `deploy/systemd`, by what they run."""
    common = _lines(SYSTEMD / "dispatcher-.service.d" / "common.conf")
    paths = sorted(SYSTEMD.glob("dispatcher-*.service"))
    return {
        path.stem.removeprefix("dispatcher-"): Unit(path.name, (*_lines(path), *common))
        for path in paths
        if path.is_file()
    }


def compose() -> dict[str, Any]:
    """compose.yaml as it is in the file, variables not filled in."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def services() -> dict[str, Service]:
    """The services that run our own image."""
    return {
        name: Service(name, fields) for name, fields in compose()["services"].items() if fields["image"] == "dispatcher"
    }


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def entrypoint() -> list[str]:
    (words,) = [rest for instruction, rest in dockerfile() if instruction == "ENTRYPOINT"]
    loaded: list[str] = yaml.safe_load(words)  # the exec form requires JSON, which is YAML
    assert isinstance(loaded, list), "the shell form would keep signals from the process"
    return loaded


def on_this_machine(words: list[str], state: Path, *, api_port: int, flower_port: int) -> list[str]:
    """Adapts a command line of `deploy/` for a test, and nothing else does: this environment's Python, this source
    tree, a folder of the test for state, and free ports."""
    replaced = {
        "/opt/dispatcher/venv/bin/python": sys.executable,
        "/opt/dispatcher/app": str(ROOT),
        "/var/lib/dispatcher": str(state),
    }
    ports = {API_PORT: str(api_port), f"--port={FLOWER_PORT}": f"--port={flower_port}"}
    return [ports.get(word, _replace(word, replaced)) for word in words]


def _replace(word: str, replaced: dict[str, str]) -> str:
    for there, here in replaced.items():
        word = word.replace(there, here)
    return word


def _lines(path: Path) -> tuple[tuple[str, str], ...]:
    return tuple(re.findall(r"^([A-Za-z]+)=(.*)$", path.read_text(), re.MULTILINE))
