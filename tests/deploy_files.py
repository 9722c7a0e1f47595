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

PORTS = {"api": 8080, "flower": 5555, "deliver": 9101, "upkeep": 9102}
SECRETS = "/run/secrets"


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
        own = dict(line.split("=", 1) for line in self.all("Environment"))
        return {**own, **{name: "" for line in self.all("UnsetEnvironment") for name in line.split()}}

    @property
    def secrets(self) -> dict[str, str]:
        """The files that its processes find in the folder of credentials, and where each is kept."""
        return dict(line.split(":", 1) for line in self.all("LoadCredential"))

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
        return dict(self.fields["environment"])

    @property
    def secrets(self) -> dict[str, str]:
        """The files that it finds in `/run/secrets`, and which secret each is."""
        named = [one if isinstance(one, dict) else {"source": one, "target": one} for one in self.fields["secrets"]]
        return {one["target"]: one["source"] for one in named}

    @property
    def checks(self) -> list[list[str]]:
        """The commands that say whether it is well."""
        return [self.fields["healthcheck"]["test"][1:]] if "healthcheck" in self.fields else []

    @property
    def stop_seconds(self) -> int:
        return int(self.fields["stop_grace_period"].removesuffix("s"))


@dataclass(frozen=True, slots=True)
class Pod:
    """What a manifest runs, and in what."""

    name: str
    kind: str
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        (only,) = self.spec["containers"]
        return dict(only)

    @property
    def command(self) -> list[str]:
        assert "command" not in self.container, "the image has the entry point"
        return [*entrypoint(), *self.container["args"]]

    @property
    def environment(self) -> dict[str, str]:
        return {variable["name"]: variable["value"] for variable in self.container["env"]}

    @property
    def secrets(self) -> dict[str, str]:
        (volume,) = [volume["secret"] for volume in self.spec["volumes"] if volume["name"] == "secrets"]
        return {item["path"]: item["key"] for item in volume["items"]}

    @property
    def probes(self) -> dict[str, dict[str, Any]]:
        return {name.removesuffix("Probe"): probe for name, probe in self.container.items() if name.endswith("Probe")}

    @property
    def stop_seconds(self) -> int:
        return int(self.spec["terminationGracePeriodSeconds"])


def units(folder: Path = SYSTEMD) -> dict[str, Unit]:
    """The services of a folder, by what they run."""
    common = _lines(folder / "dispatcher-.service.d" / "common.conf")
    return {
        path.stem.removeprefix("dispatcher-"): Unit(path.name, (*_with_own_files(path), *common))
        for path in sorted(folder.glob("dispatcher-*.service"))
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


def manifests() -> list[dict[str, Any]]:
    """What is in the files of `deploy/kubernetes`, but for kustomize's own."""
    paths = sorted((DEPLOY / "kubernetes").glob("[0-9]*.yaml"))
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def pods() -> dict[str, Pod]:
    """What runs in Kubernetes, by what it runs."""
    found = [(one["metadata"]["name"], one) for one in manifests() if one["kind"] in {"Deployment", "Job"}]
    return {
        (name := full.removeprefix("dispatcher-")): Pod(name, one["kind"], one["spec"]["template"]["spec"])
        for full, one in found
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


def on_this_machine(words: list[str], state: Path, ports: dict[str, int]) -> list[str]:
    """Adapts a command line of `deploy/` for a test, and nothing else does: this environment's Python, this source
    tree, folders of the test for state and secrets, and free ports for those of `PORTS`."""
    names = {str(number): str(ports[name]) for name, number in PORTS.items() if name in ports}
    replaced = {
        "/opt/dispatcher/current/venv/bin/python": sys.executable,
        "/opt/dispatcher/current": str(ROOT),
        "/opt/dispatcher/venv/bin/python": sys.executable,
        "/opt/dispatcher/app": str(ROOT),
        "/var/lib/dispatcher": str(state),
        SECRETS: str(state / "secrets"),
    }
    return [_replace(_PORT.sub(lambda found: names.get(found[0], found[0]), word), replaced) for word in words]


_PORT = re.compile(r"\b[0-9]{4}\b")


def _replace(word: str, replaced: dict[str, str]) -> str:
    for there, here in replaced.items():
        word = word.replace(there, here)
    return word


def _with_own_files(path: Path) -> tuple[tuple[str, str], ...]:
    """A unit's lines with those of the files beside it, in which an empty value takes back what was said before."""
    lines = list(_lines(path))
    for beside in sorted(path.with_name(f"{path.name}.d").glob("*.conf")):
        for key, value in _lines(beside):
            lines = [*lines, (key, value)] if value else [line for line in lines if line[0] != key]
    return tuple(lines)


def _lines(path: Path) -> tuple[tuple[str, str], ...]:
    return tuple(re.findall(r"^([A-Za-z]+)=(.*)$", path.read_text(), re.MULTILINE))
