"""`deploy/requirements.lock` is the part of the environment that a server needs, `deploy/embedded.lock` what a whole
engine on one machine does. Checked without uv and network."""

import re
import tomllib
from typing import Any

import pytest

from tests.deploy_files import DEPLOY, ROOT

GROUPS = {"requirements.lock": ("server", "fast"), "embedded.lock": ("server", "fast", "embedded")}

locks = pytest.mark.parametrize("name", GROUPS)


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text()


def advice(name: str) -> str:
    return f"run the command in the head of deploy/{name}:{text_of(name)[:300]}"


def blocks(text: str) -> dict[str, str]:
    """Each pinned package with its hashes; markers and comments left out."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", text):
        if named := re.match(r"([A-Za-z0-9_.-]+==[^\s;]+)", block):
            found[named[1].partition("==")[0]] = named[1] + " ".join(re.findall(r"--hash=\S+", block))
    return found


@locks
def test_every_package_is_pinned_as_in_the_lock_of_the_whole_project(name: str) -> None:
    everything, pinned = blocks((ROOT / "requirements.lock").read_text()), blocks(text_of(name))
    assert {package: everything.get(package) for package in pinned} == pinned, advice(name)


@locks
def test_it_holds_what_the_engine_needs_and_nothing_else(name: str) -> None:
    packages: dict[str, dict[str, Any]] = {
        package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    project = packages["dispatcher-producer"]
    needed: set[tuple[str, str]] = set()
    waiting = [("dispatcher-producer", "")]
    for group in GROUPS[name]:
        waiting += [(entry["name"], "") for entry in project["dev-dependencies"][group]]
    while waiting:
        package_name, extra = wanted = waiting.pop()
        if wanted in needed:
            continue
        needed.add(wanted)
        package = packages[package_name]
        for entry in (
            package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        ):
            waiting += [(entry["name"], ""), *((entry["name"], inner) for inner in entry.get("extra", ()))]
    assert set(blocks(text_of(name))) == {package for package, _ in needed} - {"dispatcher-producer"}, advice(name)


@locks
def test_it_names_no_index(name: str) -> None:
    assert "index-url" not in text_of(name)
    assert "://" not in text_of(name)
