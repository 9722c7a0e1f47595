"""The examples of README and docs, run as they stand: Python, shell, HTTP and SQL; each is judged by its effect."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvicorn
from sqlalchemy import Engine

from dispatcher import UnknownAccount
from dispatcher.asgi import create_app
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import (
    change,
    deliver_all,
    deliveries,
    make_account,
    make_webhook,
    redeliver_more,
    rows,
)
from tests.receiver import Receiver

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/enqueue.md", "docs/delivery.md", "docs/operations.md")

_EXAMPLE = re.compile(r"^<!-- example: ([\w-]+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXECUTABLE = re.compile(r"^```(?:python|sql)$", re.MULTILINE)

EXAMPLES: dict[str, tuple[str, str]] = {
    f"{page}: {name}": (language, code)
    for page in PAGES
    for name, language, code in _EXAMPLE.findall((ROOT / page).read_text())
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What an example runs on, and what it left behind."""

    database: Engine
    settings: Settings
    receiver: Receiver
    printed: str = ""

    def events(self) -> list[Any]:
        return rows(self.database, "SELECT * FROM dispatcher.events ORDER BY id")

    def callbacks(self) -> list[Any]:
        """Delivers what is due; the bodies that the receiver of `https://example.com/hook` got, as JSON."""
        deliver_all(self.settings)
        return [json.loads(request.body) for request in self.receiver.at("/hook")]


Judge: TypeAlias = Callable[[Stage], None]


@pytest.fixture
def stage(database: Engine, settings: Settings, receiver: Receiver) -> Stage:
    return Stage(database, settings, receiver)


@pytest.fixture
def acme(stage: Stage) -> Stage:
    """The account of the examples, with a webhook that takes every message."""
    make_webhook(stage.database, stage.settings, url=stage.receiver.url("/hook"), event_types=["message"])
    return stage


# Python


def run_python(name: str, **given: Any) -> dict[str, Any]:
    language, code = EXAMPLES[name]
    assert language == "python"
    namespace = {"__name__": "example", **given}
    exec(compile(code, name, "exec"), namespace)
    return namespace


def test_readme_enqueue(acme: Stage) -> None:
    accepted = run_python("README.md: enqueue")["accepted"]
    (event,) = acme.events()
    assert (event.id, event.subject, accepted.deliveries) == (accepted.event_id, "4023457654", 1)
    assert acme.callbacks() == [[{"id": "4023457654", "from": "27001234567", "body": "Yes"}]]


def test_one_event(acme: Stage) -> None:
    accepted = run_python("docs/enqueue.md: one")["accepted"]
    (event,) = acme.events()
    assert (event.id, event.type, event.delivery_count) == (accepted.event_id, "message.inbound.received", 1)
    assert not accepted.repeated


def test_an_event_in_the_callers_transaction(acme: Stage) -> None:
    change(acme.database, "CREATE TABLE public.sms (id text PRIMARY KEY, status text)")
    try:
        change(acme.database, "INSERT INTO public.sms VALUES ('4023457654', 'SENT')")
        run_python("docs/enqueue.md: session", engine=acme.database)
        assert [row.status for row in rows(acme.database, "SELECT status FROM public.sms")] == ["DELIVERED"]
    finally:
        change(acme.database, "DROP TABLE public.sms")
    assert [event.type for event in acme.events()] == ["message.outbound.delivered"]
    assert acme.callbacks() == [[{"id": "4023457654"}]]


def test_an_event_for_another_engine(acme: Stage, other: Installation) -> None:
    make_webhook(other.engine, other.settings, url=acme.receiver.url("/other"), event_types=["message"])
    urls = other.settings.database_url.get_secret_value(), other.settings.broker_url.get_secret_value()
    run_python("docs/enqueue.md: producer", other_database=urls[0], other_broker=urls[1])
    assert (acme.events(), acme.callbacks()) == ([], [])
    deliver_all(other.settings)
    assert [json.loads(request.body) for request in acme.receiver.at("/other")] == [[{"id": "7"}]]


def test_idempotency_keys(acme: Stage) -> None:
    run_python("docs/enqueue.md: idempotency")
    assert len(acme.events()) == 1
    assert acme.callbacks() == [[{"id": "7"}]]


def test_many_events(acme: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    run_python("docs/enqueue.md: many")
    (event,) = acme.events()
    assert bytes(event.data) == b'{"id":"7"}'
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"stored {event.id}"
    assert second.startswith("left out: type must be dotted parts")


def test_an_account_is_needed_first(stage: Stage) -> None:
    """The errors table's advice for an unknown account: create it, then the same call works."""
    with pytest.raises(UnknownAccount):
        run_python("docs/enqueue.md: one")
    make_account(stage.database, "acme")
    assert run_python("docs/enqueue.md: one")["accepted"].deliveries == 0


# Shell: `run.sh` and `curl` are stood in for, so that neither sets up an environment nor needs to be installed


RUN_SH = """#!/bin/sh
exec '{python}' -P -m dispatcher "$@"
"""

CURL = """#!{python} -IS
import base64, sys, urllib.error, urllib.request
words, headers, data, url, method = sys.argv[1:], {{}}, [], None, None
while words:
    match words.pop(0):
        case "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        case "-d":
            data.append(words.pop(0))
        case "-u":
            headers["Authorization"] = "Basic " + base64.b64encode(words.pop(0).encode()).decode()
        case "-X":
            method = words.pop(0)
        case address:
            url = address.replace("http://127.0.0.1:8080", "{origin}")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
try:
    sent = "&".join(data).encode() if data else None
    answer = opener.open(urllib.request.Request(url, sent, headers, method=method), timeout=30)
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.read().decode())
"""


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """The origin of a running API server."""
    running = uvicorn.Server(uvicorn.Config(create_app(), port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()


Shell: TypeAlias = Callable[..., str]


@pytest.fixture
def shell(stage: Stage, environment: dict[str, str], api: str, tmp_path: Path) -> Shell:
    """Runs an example with `sh -e` and these variables; `https://example.com` is the suite's receiver."""
    for name, text in (("run.sh", RUN_SH), ("dispatcher", RUN_SH), ("curl", CURL)):
        program = tmp_path / name
        program.write_text(text.format(python=sys.executable, origin=api))
        program.chmod(0o755)
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(name: str, **variables: str) -> str:
        language, code = EXAMPLES[name]
        assert language == "sh"
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", code.replace("https://example.com", stage.receiver.origin)],
            cwd=tmp_path,
            env={**os.environ, **environment, **paths, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_http(acme: Stage, shell: Shell) -> None:
    answer = json.loads(shell("docs/enqueue.md: http"))
    (event,) = acme.events()
    assert (str(event.id), event.subject, event.type) == (answer["event_id"], "7", "message.outbound.sent")
    assert event.occurred_at.isoformat() == "2026-03-02T09:15:00+00:00"
    (key,) = rows(acme.database, "SELECT * FROM dispatcher.idempotency_keys")
    assert (key.key, key.event_id) == ("sms-7-sent", event.id)


def test_a_file_and_the_same_file_again(acme: Stage, shell: Shell) -> None:
    for _ in range(2):
        printed = shell("docs/enqueue.md: file")
    assert printed.startswith("accepted 0, repeated 2, refused 0")
    assert sorted((event.subject, bytes(event.data)) for event in acme.events()) == [
        ("1", b'{"id": "1", "body": "one"}'),
        ("2", b'{"id": "2", "body": "two"}'),
    ]


def test_what_became_of_it(acme: Stage, shell: Shell) -> None:
    accepted = run_python("docs/enqueue.md: one")["accepted"]
    acme.receiver.script("/hook", Answer(400))
    deliver_all(acme.settings)
    printed = shell("docs/enqueue.md: look")
    assert printed.count(str(accepted.event_id)) == 1  # by its subject; it is not among the undelivered
    assert "rejected" in printed


def test_many_are_redelivered(acme: Stage, shell: Shell) -> None:
    run_python("docs/enqueue.md: one")
    change(
        acme.database,
        "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'exhausted', finished_at = now()",
    )
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            redeliver_more(acme.settings)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        printed = shell("docs/delivery.md: redeliver-many")
    finally:
        ended.set()
        worker.join()
    assert printed.startswith("1 would be redelivered\n")
    assert printed.endswith("is finished: 1 redelivered\n")
    assert len(acme.callbacks()) == 1


def test_response_rules(stage: Stage, shell: Shell) -> None:
    make_account(stage.database, "acme")
    shell("docs/delivery.md: rules")
    stage.receiver.script("/hook", Answer(410))
    run_python("docs/enqueue.md: one")
    deliver_all(stage.settings)
    assert [delivery.reason for delivery in deliveries(stage.database)] == ["rejected"]
    (webhook,) = rows(stage.database, "SELECT * FROM dispatcher.webhooks")
    assert (webhook.enabled, webhook.disabled_reason) == (False, "http_410")
    assert webhook.contract["rules"]["429"]["honour_retry_after"]


def test_members(stage: Stage, shell: Shell) -> None:
    make_account(stage.database, "acme")
    shell("docs/delivery.md: members")
    run_python("docs/enqueue.md: one")
    (body,) = stage.callbacks()
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "message.inbound.received"


# SQL


def test_lateness_counts_what_should_have_been_attempted(acme: Stage) -> None:
    _, statement = EXAMPLES["docs/operations.md: lateness"]
    make_webhook(acme.database, acme.settings, url=acme.receiver.url("/off"), enabled=False)
    run_python("docs/enqueue.md: one")
    change(acme.database, "UPDATE dispatcher.deliveries SET due_at = now() - interval '2 minutes'")
    (found,) = rows(acme.database, statement.replace(":", "\\:"))
    assert found.late == 1
    assert found.oldest.total_seconds() >= 120


# Completeness


def test_every_example_is_named_and_run_here() -> None:
    executable = sum(len(_EXECUTABLE.findall((ROOT / page).read_text())) for page in PAGES)
    assert executable == sum(language != "sh" for language, _ in EXAMPLES.values())
    with_an_engine = ROOT / "tests/acceptance/test_process_tree.py"
    source = Path(__file__).read_text() + with_an_engine.read_text()
    assert [name for name in EXAMPLES if f'"{name}"' not in source] == []
