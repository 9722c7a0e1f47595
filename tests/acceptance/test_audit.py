"""`./run.sh audit`, against a service of our own that reports vulnerabilities in OSV's form."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.dead_ports import refusing_port

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "deploy/requirements.lock")


class Service(ThreadingHTTPServer):
    """Records what it is asked for, and reports one vulnerability of each package in `bad`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str]] = []
        self.bad: set[str] = set()
        self.unknown: set[str] = set()
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class _Answers(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.server.asked.append((name, query["version"]))
        package = {"name": name, "ecosystem": "PyPI"}
        known = {"id": "TEST-1", "summary": "planted flaw", "affected": [{"package": package}]}
        body = json.dumps({"vulns": [known]} if name in self.server.bad else {}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """As the package index."""
        _, _, name, version, _ = self.path.split("/")
        self.server.asked.append((name, version))
        known = {"id": "TEST-1", "details": "planted flaw", "fixed_in": [], "aliases": []}
        body = json.dumps({"vulnerabilities": [known] if name in self.server.bad else []}).encode()
        self.send_response(404 if name in self.server.unknown else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The locks with run.sh, whose environment is up to date and is the one that runs these tests."""
    folder = tmp_path.resolve() / "checkout"
    others = ("deploy/embedded.lock", "uv.lock", "tests/dialects/sinch/client-1.1.4.lock")
    for name in ("run.sh", "pyproject.toml", *others, *LOCKS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    parts = "/^old_client=/p; /^wanted()/,/^}/p"  # of run.sh: what the stamps must contain
    stamp = f"root=$(pwd -P); eval \"$(sed -n '{parts}' run.sh)\"; wanted | tee .venv/set-up-from >.venv/tests-from"
    subprocess.run(["/bin/sh", "-euc", stamp], cwd=folder, check=True)
    return folder


def audit(checkout: Path, url: str, *more: str) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/sh", checkout / "run.sh", "audit", "--vulnerability-service", "osv", "--osv-url", url]
    return subprocess.run(
        [*command, "--cache-dir", checkout / "cache", *more],
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def by_index(checkout: Path, service: Service) -> "subprocess.CompletedProcess[str]":
    """The same by the package index, as it is asked without options. Its address is no option of pip-audit."""
    (checkout / "sitecustomize.py").write_text(f"""
import requests

plain = requests.Session.request


def request(self, method, url, **options):
    return plain(self, method, url.replace("https://pypi.org", "http://127.0.0.1:{service.server_port}"), **options)


requests.Session.request = request
""")
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={checkout} exec {sys.executable} "$@"\n')
    return subprocess.run(
        ["/bin/sh", checkout / "run.sh", "audit", "--cache-dir", checkout / "cache"],
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def pinned(lock: str) -> set[tuple[str, str]]:
    """The pinned packages that this platform needs."""
    lines = re.findall(r"^([\w.-]+)==([^\s;]+) (?!;)", (ROOT / lock).read_text(), re.MULTILINE)
    return {(name, version) for name, version in lines}


def test_every_pinned_package_is_asked_for_and_what_was_checked_is_reported(service: Service, checkout: Path) -> None:
    ran = audit(checkout, service.url)
    assert ran.returncode == 0, ran.stderr
    for lock in LOCKS:
        assert pinned(lock) <= set(service.asked)
        count = len(re.findall(r"^[\w.-]+==", (ROOT / lock).read_text(), re.MULTILINE))
        assert f"{lock}, {count} pinned packages:\n" in ran.stdout
    assert ran.stdout.count("No known vulnerabilities found") == 2


def test_a_known_vulnerability_is_named_and_ends_with_status_1_unless_it_is_excused(
    service: Service, checkout: Path
) -> None:
    service.bad = {"ruff"}  # in the first lock only
    ran = audit(checkout, service.url)
    assert ran.returncode == 1
    assert re.search(r"ruff +\S+ +TEST-1", ran.stdout)
    assert f"{LOCKS[1]}, " in ran.stdout, "the other lock is checked all the same"
    assert audit(checkout, service.url, "--ignore-vuln", "TEST-1").returncode == 0


def test_it_goes_on_past_packages_that_the_service_does_not_know_and_says_so_at_the_end(
    service: Service, checkout: Path
) -> None:
    service.unknown = {"ruff", "celery"}
    ran = by_index(checkout, service)
    assert ran.returncode == 3, ran.stderr
    assert ran.stdout.count("No known vulnerabilities found") == 2
    assert ran.stderr == "run.sh: not checked, because the service does not know them: celery ruff\n"
    for lock in LOCKS:
        assert pinned(lock) <= set(service.asked)
    service.bad = {"fastapi"}  # in both locks
    ran = by_index(checkout, service)
    assert ran.returncode == 1
    assert ran.stdout.count("TEST-1") == 2
    assert ran.stderr.endswith(" celery ruff\n")


def test_a_service_that_cannot_be_asked_is_no_clean_bill(service: Service, checkout: Path) -> None:
    service.status = 500
    for url in (f"http://127.0.0.1:{refusing_port()}/", service.url):
        ran = audit(checkout, url)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.startswith("run.sh: requirements.lock was not checked: ")
        assert ran.stderr.count("\n") == 1
