"""A TypeScript client generated from docs/openapi.json: the program of docs/client.md compiles, and works with an API.

It needs Node and npm on PATH, and a network or a registry of one's own for the packages of tests/typescript.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import create_app
from tests.integration.api.conftest import MakeKey, make_key, running_app
from tests.integration.docs.blocks import ROOT, blocks_of

__all__ = ["make_key"]

_NO_NETWORK = re.compile(r"\b(?:EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b")
(PROGRAM,) = (block.code for block in blocks_of("docs/client.md") if block.language == "ts")
(COMPILE,) = re.findall(r"^(npx tsc .+) program\.ts$", (ROOT / "docs/client.md").read_text(), re.MULTILINE)


def run(*words: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the locked packages, and the types that the generator makes."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not on PATH: no TypeScript client is generated")
    folder = tmp_path_factory.mktemp("typescript")
    for file in (ROOT / "tests/typescript").iterdir():
        shutil.copy(file, folder)
    installed = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
    if installed.returncode and (why := _NO_NETWORK.search(installed.stderr)):
        pytest.skip(f"npm reaches no registry ({why[0]}): no TypeScript client is generated")
    assert installed.returncode == 0, installed.stderr
    document = str(ROOT / "docs/openapi.json")
    made = run(
        "npx", "openapi-typescript", document, "--default-non-nullable", "false", "-o", "dispatcher.d.ts", cwd=folder
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def api(database: Engine) -> Iterator[str]:
    with running_app(create_app()) as origin:
        yield origin


def test_the_program_of_the_page_compiles_and_works(project: Path, api: str, make_key: MakeKey) -> None:
    (project / "program.ts").write_text(PROGRAM)
    compiled = run(*COMPILE.split(), "program.ts", cwd=project)
    assert compiled.returncode == 0, compiled.stdout

    token = make_key("acme", Scope.SEND, Scope.READ, Scope.MANAGE)
    ran = run("node", "program.js", cwd=project, API=api, TOKEN=token)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "0",
        "message.outbound.sent null",
        "event_types must have at least 1 item",
        "contract.timeout_seconds must be at most 60",
    ]


WRONG = {
    'idempotency_key: "sms-8-sent"': "idempotency_key: 8",
    "event.subject": "event.subjekt",
    "timeout_seconds: 90": "timeout: 90",
    "limit: 1": 'limit: "many"',
    '"/v1/events", { params': '"/v1/event", { params',
}


def test_what_the_api_would_refuse_does_not_compile(project: Path) -> None:
    names = [f"wrong{number}.ts" for number in range(len(WRONG))]
    for name, (right, wrong) in zip(names, WRONG.items(), strict=True):
        assert PROGRAM.count(right) == 1
        (project / name).write_text(PROGRAM.replace(right, wrong))
    compiled = run(*COMPILE.split(), "--noEmit", *names, cwd=project)
    assert sorted(set(re.findall(r"^(wrong\d\.ts)\(", compiled.stdout, re.MULTILINE))) == names
