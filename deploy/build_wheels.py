"""Builds both distributions as wheels, in `dist/` or in the given folder: `./run.sh build`.

The producers' wheel is built as the root's pyproject.toml says. The engine's wheel is everything else: it is built from
a copy without the files of the producers' wheel, so that both can be in one environment, and from the same tables, so
that version and packages are stated once.
"""

import contextlib
import json
import shutil
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from hatchling.build import build_wheel

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dispatcher", "workers", "schedules")

# Arrays and strings in JSON are also valid TOML.
ENGINE = """
[build-system]
requires = {requires}
build-backend = "hatchling.build"

[project]
name = "dispatcher-engine"
version = "{version}"
description = "Self-hosted webhook delivery for messaging platforms: the engine"
readme = "README.md"
requires-python = "{requires-python}"
license = "{license}"
license-files = {license-files}
dependencies = {dependencies}

[project.optional-dependencies]
fast = {fast}
embedded = {embedded}

[project.scripts]
dispatcher = "dispatcher.cli:main"

[tool.hatch.build.targets.wheel]
packages = {packages}
"""


def main(into: Path) -> None:
    """Builds both wheels, and prints their paths."""
    into.mkdir(parents=True, exist_ok=True)
    producer = into / _build(ROOT, into)
    print(producer)
    with tempfile.TemporaryDirectory() as folder:
        _stage_engine(Path(folder), producer)
        print(into / _build(Path(folder), into))


def _build(project: Path, into: Path) -> str:
    with contextlib.chdir(project):
        return build_wheel(str(into))


def _stage_engine(stage: Path, producer: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, stage / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in zipfile.ZipFile(producer).namelist():
        (stage / name).unlink(missing_ok=True)
    for name in ("LICENSE", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, stage)
    (stage / "pyproject.toml").write_text(_engine_project())


def _engine_project() -> str:
    root: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = root["project"], root["dependency-groups"]
    lists = {
        "requires": root["build-system"]["requires"],
        "license-files": project["license-files"],
        "dependencies": [f"{project['name']}=={project['version']}", *groups["server"]],
        "fast": groups["fast"],
        "embedded": groups["embedded"],
        "packages": PACKAGES,
    }
    texts = {name: project[name] for name in ("version", "requires-python", "license")}
    return ENGINE.format(**texts, **{name: json.dumps(value) for name, value in lists.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / "dist")
