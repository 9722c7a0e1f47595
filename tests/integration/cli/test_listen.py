"""`dispatcher listen`: a receiver in the shell."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from dispatcher.signing.keys import generate_signing_key
from tests.factories import MESSAGE, RECEIVED, deliver_all, deliveries, make_webhook
from tests.integration.cli.conftest import Cli


@contextmanager
def listening(*options: str, stdin: str = "") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "dispatcher", "listen", "--port", "0", *options],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(stdin)
        process.stdin.close()
        line = process.stderr.readline()
        assert line.startswith("Listening on http://127.0.0.1:"), line
        yield line.split()[2], process
    finally:
        process.kill()
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_each_callback_is_shown_with_what_its_signature_is_worth(database: Engine, settings: Settings) -> None:
    key = generate_signing_key()
    with listening("--key-from", "-", "--count", "2", stdin=f"{key.secret}\n") as (url, process):
        make_webhook(database, settings, url=f"{url}hook?a=1", signing_keys=[key], event_types=["ours"])
        make_webhook(database, settings, url=f"{url}hook?a=2", event_types=["foreign"])
        accepted = enqueue("ours", MESSAGE, account="acme")
        deliver_all(settings)
        enqueue("foreign", {"text": "\x1b[2J"}, account="acme")
        deliver_all(settings)
        assert process.stdout is not None
        shown = process.stdout.read()
        assert process.wait(10) == 0
    first, second = shown.split("POST /hook")[1:]
    assert first.startswith("?a=1\n")
    assert f"Event-Id: {accepted.event_id}" in first
    assert "signature: good" in first
    assert json.dumps([MESSAGE], separators=(",", ":")) in first
    assert "signature: bad" in second
    assert "\x1b" not in shown
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_programs_get_a_line_of_json_for_each_and_any_status_can_be_answered(
    database: Engine, settings: Settings
) -> None:
    with listening("--json", "--count", "1", "--answer", "503") as (url, process):
        make_webhook(database, settings, url=url)
        enqueue(RECEIVED, MESSAGE, account="acme")
        deliver_all(settings)
        assert process.stdout is not None
        (line,) = process.stdout.read().splitlines()
    told = json.loads(line)
    assert (told["method"], told["target"], json.loads(told["body"]), told["signature"]) == (
        "POST",
        "/",
        [MESSAGE],
        None,
    )
    assert ["Content-Type", "application/json"] in told["headers"]
    assert [row.state for row in deliveries(database)] == ["waiting"]


def test_a_port_that_is_taken_and_a_key_that_is_none_are_said_in_one_line(cli: Cli) -> None:
    with listening() as (url, _):
        ran = cli("listen", "--port", url.rstrip("/").rpartition(":")[2])
    assert ran.status == 2
    assert "cannot be listened on" in ran.err
    ran = cli("listen", "--key-from", "-", stdin="planted\n")
    assert ran.status == 1
    assert "planted" not in ran.err
