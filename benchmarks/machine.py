"""The machine and the software versions that the figures belong to."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import redis

from benchmarks import bullmq
from benchmarks.servers import ROOT, Servers


def machine() -> dict[str, str]:
    """Cores, their model, memory, operating system, and the measured commit."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "commit": _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]) or "unknown",
    }


def versions(servers: Servers) -> dict[str, str]:
    """The software that took part, with versions; missing software is shown as such."""
    with redis.Redis.from_url(servers.valkey.url, decode_responses=True) as client:
        broker = client.info("server")
    return {
        "python": platform.python_version(),
        **{name: _package(name) for name in ("celery", "kombu", "requests", "sqlalchemy", "psycopg2-binary", "pycurl")},
        "libcurl": _libcurl(),
        "postgresql": str(servers.scalar("SHOW server_version")),
        "valkey": str(broker.get("valkey_version") or broker["redis_version"]),
        "receiver": servers.instant.name,
        "node": _first_line(["node", "--version"]) or "not installed",
        **{name: _node_package(name) for name in ("bullmq", "undici", "pg")},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _libcurl() -> str:
    code = "import pycurl; print(pycurl.version_info()[1])"
    return _first_line([sys.executable, "-c", code]) or "not installed"


def _node_package(name: str) -> str:
    try:
        return bullmq.version(name)
    except bullmq.NotHere as reason:
        return str(reason)


def _first_line(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip().partition("\n")[0]
