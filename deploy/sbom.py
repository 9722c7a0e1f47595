"""Prints the software bill of materials (CycloneDX, JSON) of what a lock file pins: `./run.sh sbom`.

Packages, versions and which of them needs which come from the locks, as do the files with their hashes that an
installation accepts. Nothing is asked for, and the same locks give the same text.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from dispatcher.version import __version__

ROOT = Path(__file__).resolve().parents[1]
LOCKED = "deploy/requirements.lock"  # what the units and the image install

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_GROUP = re.compile(r"--group (\S+)")


def main(arguments: list[str]) -> int:
    """Prints it. The only argument is the lock file, as a path in the checkout."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        sys.stderr.write("Usage: run.sh sbom [LOCK]\n")
        return 2
    name = arguments[0] if arguments else LOCKED
    try:
        lock = (ROOT / name).read_text()
    except (OSError, UnicodeError):
        sys.stderr.write(f"run.sh: {name} is no lock file of this checkout: {LOCKED} is one\n")
        return 2
    sys.stdout.write(bill_of(lock, tomllib.loads((ROOT / "uv.lock").read_text())) + "\n")
    return 0


def bill_of(lock: str, resolved: Mapping[str, Any]) -> str:
    """The bill of what `lock` pins; `resolved` is uv's lock, which knows the files and who needs whom."""
    pinned = dict(_PINNED.findall(lock))
    packages = {package["name"]: package for package in resolved["package"]}
    own = next(package for package in resolved["package"] if "registry" not in package["source"])
    components = {name: _component(name, version, packages[name]) for name, version in pinned.items()}
    product = Component(name="dispatcher", version=__version__, type=ComponentType.APPLICATION, bom_ref="dispatcher")
    bom = Bom(
        components=components.values(),
        metadata=BomMetaData(component=product, timestamp=_newest(packages[name] for name in pinned)),
        serial_number=uuid5(NAMESPACE_URL, f"dispatcher {__version__}\n{lock}"),
    )
    groups, head = own["dev-dependencies"], lock[: lock.index("==")]
    wanted = groups if "--all-groups" in head else _GROUP.findall(head)
    needed = [*own.get("dependencies", ()), *(each for group in wanted for each in groups[group])]
    needs = _who_needs_whom(packages, needed)
    bom.register_dependency(product, _those(components, {each["name"] for each in needed}))
    for name, component in components.items():
        bom.register_dependency(component, _those(components, needs.get(name, set())))
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _who_needs_whom(packages: Mapping[str, Any], needed: Iterable[Mapping[str, Any]]) -> Mapping[str, set[str]]:
    """Beginning with what the product needs, also by extras, which can need other extras."""
    found: dict[str, set[str]] = {}
    left, seen = list(needed), set()
    while left:
        each = left.pop()
        name, package = each["name"], packages[each["name"]]
        for extra in ("", *each.get("extra", ())):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            more = package["optional-dependencies"][extra] if extra else package.get("dependencies", ())
            found.setdefault(name, set()).update(other["name"] for other in more)
            left += more
    return found


def _those(components: Mapping[str, Component], names: Iterable[str]) -> list[Component]:
    """Without those that other platforms need."""
    return [components[name] for name in sorted(names) if name in components]


def _component(name: str, version: str, package: Mapping[str, Any]) -> Component:
    purl = PackageURL("pypi", name=name, version=version)
    files = [*([package["sdist"]] if "sdist" in package else []), *package.get("wheels", ())]
    return Component(
        name=name,
        version=version,
        bom_ref=purl.to_string(),
        purl=purl,
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(file["url"]),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file["hash"].removeprefix("sha256:"))],
            )
            for file in files
        ],
    )


def _newest(packages: Iterable[Mapping[str, Any]]) -> datetime:
    """When the newest of the files was published: the time of the locks, as it were."""
    files = [file for package in packages for file in [package.get("sdist"), *package.get("wheels", ())] if file]
    times = [datetime.fromisoformat(file["upload-time"]) for file in files if "upload-time" in file]
    return max(times, default=datetime.fromtimestamp(0, UTC))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
