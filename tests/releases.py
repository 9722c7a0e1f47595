"""Releases in git history: by their tag, or by the commit that CHANGELOG.md names."""

import io
import re
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def git(*words: str) -> bytes:
    """What git prints. Raises LookupError with its reason where it fails."""
    try:
        ran = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise LookupError("git is not installed") from None
    if ran.returncode:
        raise LookupError(ran.stderr.decode().strip())
    return ran.stdout


def newest_released() -> str:
    """The version of the newest release, by CHANGELOG.md."""
    found = re.search(r"^## ([0-9.]+), [0-9]{4}-", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def unpack(version: str, folder: Path, *more: str) -> None:
    """Puts the code of a release there, and what else is named. Raises LookupError as `commit_of`."""
    archive = git("archive", commit_of(version), "dispatcher", "workers", "schedules", *more)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        if hasattr(tarfile, "data_filter"):  # Debian 12 has a Python without it
            files.extraction_filter = tarfile.data_filter
        files.extractall(folder)


def commit_of(version: str) -> str:
    """Raises LookupError if the release is not known here: a checkout without history or tags, say."""
    if git("rev-parse", "--show-prefix").strip():
        raise LookupError("this tree is part of another repository")
    section = re.search(
        rf"^## {re.escape(version)}\b(.*?)(?=^## |\Z)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL
    )
    named = re.search(r"commit `([0-9a-f]{7,40})`", section[1]) if section else None
    for name in (f"v{version}", named[1] if named else None):
        try:
            return git("rev-parse", "--verify", f"{name}^{{commit}}").decode().strip()
        except LookupError:
            continue
    raise LookupError(f"there is no tag v{version} here, and no commit that CHANGELOG.md names for it")
