"""The bill of materials: as CycloneDX defines it, and complete."""

import json
import re
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

ROOT = Path(__file__).parents[3]
LOCKS = ("deploy/requirements.lock", "deploy/embedded.lock", "requirements.lock")
SCHEMAS = files("cyclonedx.schema") / "_res"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """As `./run.sh sbom` runs it."""
    command = [sys.executable, "-P", "-W", "error", ROOT / "deploy" / "sbom.py", *arguments]
    return subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


@cache
def bill(*arguments: str) -> dict[str, Any]:
    """Of each lock once: a run takes most of a second."""
    ran = run(*arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.SNAPSHOT.schema.json").read_text())
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_it_names_every_pinned_package_with_the_hashes_that_an_installation_accepts(lock: str) -> None:
    components = bill(lock)["components"]
    pinned = {
        named[1]: (named[2], set(re.findall(r"--hash=sha256:([0-9a-f]{64})", block)))
        for block in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text())
        if (named := re.match(r"([a-z0-9._-]+)==([^\s;]+)", block))
    }
    assert len(pinned) > 40
    assert pinned == {
        each["name"]: (
            each["version"],
            {hashed["content"] for file in each["externalReferences"] for hashed in file["hashes"]},
        )
        for each in components
    }
    assert {each["purl"] for each in components} == {f"pkg:pypi/{name}@{pinned[name][0]}" for name in pinned}


@pytest.mark.parametrize("lock", LOCKS)
def test_the_product_needs_each_of_them_directly_or_through_others(lock: str) -> None:
    found = bill(lock)
    needs = {each["ref"]: each.get("dependsOn", []) for each in found["dependencies"]}
    reached: set[str] = set()
    left = [found["metadata"]["component"]["bom-ref"]]
    while left:
        reference = left.pop()
        if reference not in reached:
            reached.add(reference)
            left += needs[reference]
    assert {each["bom-ref"] for each in found["components"]} - reached == set()
    assert "pkg:pypi/redis" in {reference.partition("@")[0] for reference in reached}  # by an extra of celery


def test_it_is_as_cyclonedx_defines_it_and_the_same_each_time() -> None:
    names = ("spdx", "jsf-0.82", "cryptography-defs")
    registry = jsonschema_rs.Registry(
        [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name)) for name in names]
    )
    validator = jsonschema_rs.validator_for(schema("bom-1.6"), registry=registry)
    found = bill()
    assert [error.message for error in validator.iter_errors(found)] == []
    assert [error.message for error in validator.iter_errors({**found, "components": [{"name": 1}]})] != []
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert bill("deploy/requirements.lock") == found


def test_another_file_is_refused_in_a_line() -> None:
    for arguments in (("deploy/none.lock",), ("--help",), ("a", "b")):
        ran = run(*arguments)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
