"""The baseline `bullmq`: a peer in Node, one BullMQ job per delivery, sent with undici, by two processes.

Its packages are installed from `bullmq/package-lock.json` into a cache folder outside the checkout.
"""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("bullmq")
_FILES = ("package.json", "package-lock.json", ".npmrc")


class NotHere(Exception):
    """This baseline cannot run on this machine; the text says why."""


@cache
def installed() -> Path:
    """The folder to run `index.mjs` in, made on first use. Raises NotHere."""
    _found("node")
    digest = hashlib.sha256(b"".join((_SOURCE / name).read_bytes() for name in _FILES)).hexdigest()[:16]
    folder = _cache_folder() / f"bullmq-{digest}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copy(_SOURCE / name, folder)
        done = subprocess.run([_found("npm"), "ci"], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line.removeprefix("npm error").strip() for line in done.stderr.splitlines() if "error" in line]
            raise NotHere(f"npm ci failed: {' '.join(filter(None, lines))[:200]}")
        (folder / "complete").touch()
    shutil.copy(_SOURCE / "index.mjs", folder)
    return folder


def version(package: str) -> str:
    """The installed version of a package. Raises NotHere."""
    words = [_found("node"), "-p", f"JSON.parse(fs.readFileSync('node_modules/{package}/package.json')).version"]
    return subprocess.run(words, cwd=installed(), capture_output=True, text=True, check=True).stdout.strip()


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise NotHere(f"{program} is not installed")
    return found


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dispatcher-bench"
