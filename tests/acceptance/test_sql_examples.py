"""The programs of examples/ that enqueue in SQL: installed by their locks, run, and refused as docs/sql.md says."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.factories import change, make_webhook, rows
from tests.integration.docs.blocks import ROOT

INSTALLED_BY = {
    "node": ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"),
    "go": ("go", "build", "-mod=readonly", "-o", "delivered", "."),
}
RUN_BY = {"node": ("node", "delivered.mjs"), "go": ("./delivered",)}
OFFLINE = ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT", "network", "dial tcp", "no such host", "i/o timeout")


@pytest.fixture
def shop(
    database: Engine, settings: Settings, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("SHOP_DATABASE_URL", environment["DATABASE_URL"].replace("+psycopg2", ""))
    make_webhook(database, settings, url="https://example.com/hook")
    change(database, "CREATE TABLE public.sms (id text PRIMARY KEY, status text)")
    yield
    change(database, "DROP TABLE public.sms")


@pytest.fixture(params=INSTALLED_BY)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A program in a folder where its packages are installed, and the command that runs it."""
    language: str = request.param
    command = INSTALLED_BY[language]
    for needed in (language, command[0]):
        if shutil.which(needed) is None:
            pytest.skip(f"no {needed} on PATH: examples/{language} is not run")
    folder = shutil.copytree(ROOT / "examples" / language, tmp_path / language)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode and any(word in done.stderr for word in OFFLINE):
        pytest.skip(f"no network for the packages of examples/{language}: it is not run")
    assert done.returncode == 0, done.stderr
    return folder, RUN_BY[language]


@pytest.mark.usefixtures("shop")
def test_row_and_event_are_stored_together_or_neither(program: tuple[Path, tuple[str, ...]], database: Engine) -> None:
    folder, command = program

    def run(*numbers: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *numbers], cwd=folder, env=os.environ, capture_output=True, text=True, timeout=60, check=False
        )

    done = run("7", "8")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    events = rows(database, "SELECT id::text, convert_from(data, 'UTF8') FROM dispatcher.events ORDER BY subject")
    assert [(one["event_id"], one["deliveries"], one["repeated"]) for one in told] == [
        (event_id, 1, False) for event_id, _ in events
    ]
    assert [data for _, data in events] == ['{"id":"7"}', '{"id":"8"}']
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    refused = run("9")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("WH003 ")
    assert "once an operator has resumed the account" in refused.stderr
    assert [row.id for row in rows(database, "SELECT id FROM public.sms ORDER BY id")] == ["7", "8"]
