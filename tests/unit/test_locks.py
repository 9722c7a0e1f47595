"""uv.lock and requirements.lock describe one environment. Checked without uv and without network."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REQUIREMENTS = (ROOT / "requirements.lock").read_text()
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text())

ADVICE = f"the locks differ: run `uv lock`, then the command in the head of requirements.lock:{REQUIREMENTS[:250]}"


def test_requirements_lock_holds_exactly_what_uv_locked_for_all_groups() -> None:
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", REQUIREMENTS, re.MULTILINE))

    assert pinned == _locked(), ADVICE


def test_every_pinned_package_has_the_hashes_that_uv_locked() -> None:
    hashes: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", REQUIREMENTS):
        if named := re.match(r"([A-Za-z0-9_.-]+)==", block):
            hashes[named[1]] = set(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block))

    assert hashes == {name: _hashes(package) for name, package in _packages().items() if name in hashes}, ADVICE


def test_the_locks_name_no_index_of_a_particular_network() -> None:
    sources = {package["source"].get("registry", "https://pypi.org/simple") for package in LOCK["package"]}

    assert sources == {"https://pypi.org/simple"}
    assert "index-url" not in REQUIREMENTS


def test_the_lock_was_made_from_the_dependencies_of_this_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    metadata = _packages()[project["project"]["name"]]["metadata"]
    extras = project["project"]["optional-dependencies"].values()
    own = [*project["project"]["dependencies"], *(one for extra in extras for one in extra)]
    declared = {"": own, **project["dependency-groups"]}
    locked = {"": metadata["requires-dist"], **metadata["requires-dev"]}

    assert {group: {entry["name"] for entry in entries} for group, entries in locked.items()} == {
        group: {_name(requirement) for requirement in requirements} for group, requirements in declared.items()
    }, ADVICE


def _packages() -> dict[str, dict[str, Any]]:
    return {package["name"]: package for package in LOCK["package"]}


def _locked() -> dict[str, str]:
    """Everything that the project needs with all groups, by following the lock from the project on."""
    packages = _packages()
    found: dict[str, str] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = []
    for package in packages.values():
        if "registry" not in package["source"]:  # the project itself, with its groups
            waiting.extend(_needs(package, ()))
            for group in package.get("dev-dependencies", {}).values():
                waiting.extend((entry["name"], tuple(entry.get("extra", ()))) for entry in group)
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        package = packages[wanted[0]]
        if "registry" in package["source"]:
            found[package["name"]] = package["version"]
        waiting.extend(_needs(package, wanted[1]))
    return found


def _needs(package: dict[str, Any], extras: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    optional = package.get("optional-dependencies", {})
    entries = [*package.get("dependencies", []), *(entry for extra in extras for entry in optional.get(extra, []))]
    return [(entry["name"], tuple(entry.get("extra", ()))) for entry in entries]


def _hashes(package: dict[str, Any]) -> set[str]:
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    return {file["hash"] for file in files}


def _name(requirement: str) -> str:
    named = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert named
    return named[0].lower()
