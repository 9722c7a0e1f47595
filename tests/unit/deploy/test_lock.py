"""`deploy/requirements.lock` is the part of the environment that a server needs. Checked without uv and network."""

import re
import tomllib
from typing import Any

from tests.deploy_files import DEPLOY, ROOT

LOCK = (DEPLOY / "requirements.lock").read_text()
ADVICE = f"run the command in the head of deploy/requirements.lock:{LOCK[:300]}"


def blocks(text: str) -> dict[str, str]:
    """Each pinned package with its hashes; markers and comments left out."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", text):
        if named := re.match(r"([A-Za-z0-9_.-]+==[^\s;]+)", block):
            found[named[1].partition("==")[0]] = named[1] + " ".join(re.findall(r"--hash=\S+", block))
    return found


def test_every_package_is_pinned_as_in_the_lock_of_the_whole_project() -> None:
    everything = blocks((ROOT / "requirements.lock").read_text())
    assert {name: everything.get(name) for name in blocks(LOCK)} == blocks(LOCK), ADVICE


def test_it_holds_what_the_engine_needs_and_nothing_else() -> None:
    packages: dict[str, dict[str, Any]] = {
        package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    project = packages["dispatcher-producer"]
    needed: set[tuple[str, str]] = set()
    waiting = [("dispatcher-producer", "")]
    for group in ("server", "fast"):
        waiting += [(entry["name"], "") for entry in project["dev-dependencies"][group]]
    while waiting:
        name, extra = wanted = waiting.pop()
        if wanted in needed:
            continue
        needed.add(wanted)
        package = packages[name]
        for entry in (
            package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        ):
            waiting += [(entry["name"], ""), *((entry["name"], inner) for inner in entry.get("extra", ()))]
    assert set(blocks(LOCK)) == {name for name, _ in needed} - {"dispatcher-producer"}, ADVICE


def test_it_names_no_index() -> None:
    assert "index-url" not in LOCK
    assert "://" not in LOCK
