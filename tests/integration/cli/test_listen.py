"""`dispatcher listen`: a receiver in the shell."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.embedded.data_dir import DataDirectory
from dispatcher.embedded.servers.ports import preferred_port
from dispatcher.settings import Settings
from dispatcher.signing.keys import generate_signing_key
from dispatcher.verify import Verifier
from tests.allowed import LOOPBACK_VARIABLES
from tests.behaviours import Answer
from tests.factories import MESSAGE, RECEIVED, attempts, deliver_all, deliveries, make_webhook, rows
from tests.forked import Forked
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver


class Listener(Forked):
    """`dispatcher listen`, and what it shows."""

    def __init__(self, *options: str, stdin: str) -> None:
        pipes = [os.pipe() for _ in range(3)]
        (given, giving), (shown, showing), (said, saying) = pipes
        words = ("dispatcher", "listen", "--port", "0", *options)
        super().__init__(words, os.environ, stdin=given, stdout=showing, stderr=saying)
        for end in (given, showing, saying):
            os.close(end)
        with os.fdopen(giving, "w") as stream:
            stream.write(stdin)
        self.stdout, self.stderr = os.fdopen(shown), os.fdopen(said)


@contextmanager
def listening(*options: str, stdin: str = "") -> Iterator[tuple[str, Listener]]:
    process = Listener(*options, stdin=stdin)
    try:
        line = process.stderr.readline()
        before = []
        while line and not line.startswith("Listening on http://127.0.0.1:"):
            before.append(line)
            line = process.stderr.readline()
        assert line, before
        yield line.split()[2], process
    finally:
        process.kill()
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            stream.close()


def test_a_webhook_that_only_has_the_name_is_left_alone(
    cli: Cli, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in LOOPBACK_VARIABLES.items():
        monkeypatch.setenv(variable, value)
    port = preferred_port(9000)
    name = f"dispatcher listen on {socket.gethostname()}, port {port}"
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/hook", name=name)
    ran = cli("listen", "--register", "--account", "acme", "--port", port)
    assert (ran.status, "already has a webhook with this name" in ran.err) == (1, True)
    (kept,) = rows(database, "SELECT id, version, enabled, deleted_at FROM dispatcher.webhooks")
    assert tuple(kept) == (webhook.id, webhook.version, True, None)


def test_each_callback_is_shown_with_what_its_signature_is_worth(database: Engine, settings: Settings) -> None:
    key = generate_signing_key()
    with listening("--key-from", "-", "--count", "2", stdin=f"{key.secret}\n") as (url, process):
        make_webhook(database, settings, url=f"{url}hook?a=1", signing_keys=[key], event_types=["ours"])
        make_webhook(database, settings, url=f"{url}hook?a=2", event_types=["foreign"])
        accepted = enqueue("ours", MESSAGE, account="acme")
        deliver_all(settings)
        enqueue("foreign", {"text": "\x1b[2J"}, account="acme")
        deliver_all(settings)
        shown = process.stdout.read()
        assert process.wait(10) == 0
    first, second = shown.splitlines()
    about = f"POST /hook?a=1  ours  event {accepted.event_id}  attempt 1  signature good  answered 204  "
    assert first.endswith(about + json.dumps([MESSAGE], separators=(",", ":")))
    assert "POST /hook?a=2  foreign  " in second
    assert "signature bad: made with another key" in second
    assert "\x1b" not in shown
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_while_it_is_registered_events_reach_it_and_what_waited_in_between_does_as_well(
    database: Engine, settings: Settings
) -> None:
    def webhooks() -> list[tuple[str, bool]]:
        return [(row.id, row.deleted_at is None) for row in rows(database, "SELECT * FROM dispatcher.webhooks")]

    with listening("--register", "--account", "globex", "--type", "message", "--keep") as (url, process):
        accepted = enqueue(RECEIVED, MESSAGE, account="globex")
        assert accepted.deliveries == 1
        assert enqueue("other", MESSAGE, account="globex").deliveries == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    ((identifier, stands),) = webhooks()
    assert stands
    port = url.rstrip("/").rpartition(":")[2]
    (account,) = rows(database, "SELECT id FROM dispatcher.accounts")
    with listening("--register", "--account", str(account.id), "--port", port) as (_, process):
        enqueue("other", MESSAGE, account="globex")
        deliver_all(settings)
        shown = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert all("  signature good  " in line for line in shown)
    assert sorted(line.split("  ")[2] for line in shown) == [RECEIVED, "other"]
    assert webhooks() == [(identifier, False)]


def test_a_program_behind_it_can_know_the_key_that_its_webhook_signs_with(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    key = generate_signing_key().secret
    options = ("--register", "--account", "globex", "--forward", receiver.url("/"), "--key-from", "-", "--count", "1")
    with listening(*options, stdin=key) as (_, process):
        enqueue(RECEIVED, MESSAGE, account="globex")
        deliver_all(settings)
        assert process.wait(10) == 0
        assert "  signature good  " in process.stdout.readline()
    (handed_on,) = receiver.received
    Verifier(key).verify(dict(handed_on.headers), handed_on.body)


def test_a_key_that_cannot_sign_is_refused_where_a_webhook_is_to_sign_with_it(cli: Cli) -> None:
    public = "whpk_" + "A" * 43 + "="
    ran = cli("listen", "--register", "--account", "globex", "--key-from", "-", stdin=public)
    assert ran.status == 1
    assert "must begin with whsec_ (HMAC) or whsk_ (ed25519)" in " ".join(ran.err.split())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--register"], "--register and --account go together"),
        (["--account", "acme"], "--register and --account go together"),
        (["--keep"], "--type and --keep are for --register"),
        (["--forward", "http://127.0.0.1:8000/", "--status", "500"], "leave --status out"),
        (["--forward", "localhost:8000"], "must be an http:// or https:// URL"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(cli: Cli, options: list[str], why: str) -> None:
    ran = cli("listen", *options)
    assert ran.status == 2
    assert why in " ".join(ran.err.split())


def test_where_this_machine_may_not_be_called_it_says_so_and_makes_nothing(
    cli: Cli, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LOOPBACK_VARIABLES:
        monkeypatch.delenv(name)
    ran = cli("listen", "--register", "--account", "globex", "--port", "0")
    assert ran.status == 1
    assert ran.err.startswith("Error: url may not be called: a loopback address\nDISPATCHER_ALLOWED_NETWORKS, ")
    assert rows(database, "SELECT * FROM dispatcher.accounts") == []


def test_beside_an_engine_that_runs_here_it_says_how_that_one_allows_it(
    cli: Cli, database: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in LOOPBACK_VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path))
    with DataDirectory.at(tmp_path) as directory:
        directory.publish({name: environment[name] for name in ("DATABASE_URL", "BROKER_URL")})
        ran = cli("listen", "--register", "--account", "globex", "--port", "0")
    assert ran.status == 1
    assert ran.err.startswith("Error: url may not be called: a loopback address\nDISPATCHER_ALLOWED_NETWORKS, ")
    assert "`./run.sh up --dev`" in ran.err
    assert rows(database, "SELECT * FROM dispatcher.accounts") == []


def test_programs_get_a_line_of_json_for_each_and_any_status_can_be_answered(
    database: Engine, settings: Settings
) -> None:
    with listening("--json", "--count", "1", "--status", "503") as (url, process):
        make_webhook(database, settings, url=url)
        enqueue(RECEIVED, MESSAGE, account="acme")
        deliver_all(settings)
        (line,) = process.stdout.read().splitlines()
    told = json.loads(line)
    assert (told["method"], told["target"], json.loads(told["body"])) == ("POST", "/", [MESSAGE])
    assert (told["signature"], told["answered"]) == (None, 503)
    assert ["Content-Type", "application/json"] in told["headers"]
    assert [row.state for row in deliveries(database)] == ["waiting"]


def test_a_local_programs_answer_is_the_receivers_and_it_can_be_late(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/mine", Answer(410, body=b"gone"))
    with listening("--forward", receiver.url("/mine"), "--delay", "0.2", "--count", "1") as (url, process):
        make_webhook(database, settings, url=url)
        enqueue(RECEIVED, MESSAGE, account="acme")
        deliver_all(settings)
        (line,) = process.stdout.read().splitlines()
    (callback,) = receiver.received
    assert json.loads(callback.body) == [MESSAGE]
    assert callback.header("webhook-signature")
    assert "  answered 410  " in line
    (attempt,) = attempts(database)
    assert (attempt.status, attempt.verdict) == (410, "rejected")
    assert attempt.duration.total_seconds() >= 0.2


def test_a_port_that_is_taken_and_a_key_that_is_none_are_said_in_one_line(cli: Cli) -> None:
    with listening() as (url, _):
        ran = cli("listen", "--port", url.rstrip("/").rpartition(":")[2])
    assert ran.status == 2
    assert "cannot be listened on" in ran.err
    ran = cli("listen", "--key-from", "-", stdin="planted\n")
    assert ran.status == 1
    assert "planted" not in ran.err
