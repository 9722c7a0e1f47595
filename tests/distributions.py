"""Both distributions, built and installed: in environments that hold nothing but one of them and what it asks for."""

import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def copy_of_checkout(folder: Path) -> Path:
    """A new folder with what wheels are made of."""
    for name in ("dispatcher", "workers", "schedules"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("deploy/build_wheels.py", "pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(checkout: Path, into: Path) -> list[Path]:
    """The wheels that `./run.sh build` makes in a checkout, the producers' one first."""
    ran = subprocess.run(
        [sys.executable, "-P", str(checkout / "deploy/build_wheels.py"), str(into)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return [Path(line) for line in ran.stdout.splitlines()]


def files_of(wheel: Path) -> set[str]:
    """What a wheel puts into site-packages, its metadata aside."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def metadata_of(wheel: Path) -> Distribution:
    name, version, _ = wheel.name.split("-", 2)
    return PathDistribution(zipfile.Path(wheel, f"{name}-{version}.dist-info/"))  # type: ignore[arg-type]


def brought_by(requirements: Iterable[str]) -> dict[str, Distribution]:
    """The packages of this environment that pip would install for these requirements, all that they need included."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            found[name] = distribution(name)
            waiting += _needs(found[name], extra)
    return found


def _needs(package: Distribution, extra: str) -> list[Requirement]:
    needed = [Requirement(text) for text in package.requires or ()]
    return [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]


def site_packages(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def link_packages(folder: Path, requirements: Iterable[str]) -> None:
    """Links to the packages that pip would install for these requirements."""
    for package in brought_by(requirements).values():
        tops = {PurePosixPath(str(file)).parts[0] for file in package.files or ()}
        assert tops, f"{package.name} does not say which files it has"
        for top in tops - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(package.locate_file(top)))


def make_environment(folder: Path, *wheels: Path) -> None:
    """A new environment. Wheels are installed by pip, without an index: it refuses if a package that one asks for is
    not there. There are links to those packages, and to no others, because copies would have to be compiled again."""
    venv.create(folder, symlinks=True)
    site = site_packages(folder)
    ours = {metadata_of(wheel).name for wheel in wheels}
    asked = [one for wheel in wheels for one in _needs(metadata_of(wheel), "") if one.name not in ours]
    link_packages(site, map(str, asked))
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "--disable-pip-version-check", "install", "--quiet"]
    ran = subprocess.run(
        [*pip, "--no-index", "--no-compile", *map(str, wheels)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
