"""`dispatcher enqueue`: each line of an NDJSON file becomes an event, byte for byte."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine

from dispatcher.cli import ndjson
from dispatcher.events.event import MAX_DATA_BYTES
from dispatcher.settings import Settings
from tests.factories import deliver_all, make_account, make_webhook, rows
from tests.forked import run
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver

COMMAND = ("enqueue", "--account", "acme", "--type", "message.sent")


def stored(database: Engine) -> list[bytes]:
    return [bytes(row.data) for row in rows(database, "SELECT data FROM dispatcher.events ORDER BY id")]


def test_the_bytes_of_a_line_are_what_the_receiver_gets(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    line = b'{"id": 123456789012345678901234567890,  "price": 1.10, "text": "na\\u00efve \xf0\x9f\x8e\x89"}'
    (tmp_path / "messages.ndjson").write_bytes(line + b"\r\n")
    ran = cli(*COMMAND, tmp_path / "messages.ndjson")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("accepted 1, repeated 0, refused 0; deliveries 1;")
    deliver_all(settings)
    assert [received.body for received in receiver.received] == [b"[" + line + b"]"]


def test_bad_lines_are_reported_by_number_and_the_rest_goes_in(cli: Cli, database: Engine) -> None:
    make_account(database)
    lines = [b'{"n":1}', b"", b"{secret-payload", b'{"n":NaN}', b"  ", b'{"n":2}', b'"\xff"', b"[3]", b"4"]
    ran = cli(*COMMAND, "-", stdin=b"\n".join(lines))
    assert ran.status == 1
    assert sorted(stored(database)) == [b"4", b"[3]", b'{"n":1}', b'{"n":2}']
    reported = ran.err.splitlines()
    assert [line.partition(":")[0] for line in reported] == ["line 3", "line 4", "line 7", "Hint"]
    assert reported[2] == "line 7: data is not UTF-8"
    assert "secret-payload" not in ran.out + ran.err


def test_a_message_that_is_too_long_is_refused_and_its_neighbours_go_in(cli: Cli, database: Engine) -> None:
    make_account(database)
    full = b'"' + b"x" * (MAX_DATA_BYTES - 2) + b'"'
    little_too_long = b'"' + b"x" * (MAX_DATA_BYTES - 1) + b'"'
    far_too_long = b'"' + b"x" * (5 * MAX_DATA_BYTES) + b'"'
    ran = cli(*COMMAND, "-", stdin=b"\n".join([full, little_too_long, far_too_long, b"1"]))
    assert ran.status == 1
    assert sorted(stored(database)) == [full, b"1"]
    assert [line.partition(":")[0] for line in sorted(ran.err.splitlines())] == ["Hint", "line 2", "line 3"]


def test_subject_and_key_come_from_members_with_all_their_digits(cli: Cli, database: Engine) -> None:
    make_account(database)
    lines = [
        b'{"id": 12345678901234567890123, "key": "k-\\u00e9"}',
        b'{"id": "msg-2", "key": 7}',
        b'{"key": "k3"}',
        b'{"id": null, "key": "k4"}',
        b'["id"]',
    ]
    ran = cli(*COMMAND, "--subject-member", "id", "--key-member", "key", "--app", "shop", "-", stdin=b"\n".join(lines))
    assert ran.status == 1
    events = rows(database, "SELECT subject, app FROM dispatcher.events ORDER BY id")
    assert {(event.subject, event.app) for event in events} == {
        ("12345678901234567890123", "shop"),
        ("msg-2", "shop"),
    }
    assert {row.key for row in rows(database, "SELECT key FROM dispatcher.idempotency_keys")} == {"k-é", "7"}
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["line 3", "line 4", "line 5", "Hint"]


def test_a_file_sent_again_with_keys_stores_nothing_twice(cli: Cli, database: Engine) -> None:
    make_account(database)
    command = (*COMMAND, "--key-member", "id", "--json", "-")
    first = cli(*command, stdin='{"id":1}\n{"id":2}\n').document
    again = cli(*command, stdin='{"id":1}\n{"id":2}\n{"id":3}\n').document
    assert (first["accepted"], first["repeated"]) == (2, 0)
    assert (again["accepted"], again["repeated"]) == (1, 2)
    assert len(stored(database)) == 3
    changed = cli(*command, stdin='{"id":1,"text":"other"}\n')
    assert changed.status == 1
    assert changed.err.startswith("line 1: the idempotency key")


def test_more_lines_than_one_bulk_holds_all_go_in(cli: Cli, database: Engine) -> None:
    make_account(database)
    ran = cli(*COMMAND, "--json", "-", stdin="\n".join(str(number) for number in range(2_345)))
    assert ran.document["accepted"] == 2_345
    assert sorted(map(int, stored(database))) == list(range(2_345))


def test_mistakes_in_the_command_are_usage_errors(cli: Cli, database: Engine, tmp_path: Path) -> None:
    make_account(database)
    assert cli("enqueue", "--account", "acme", "--type", "no spaces", "-").status == 2
    assert cli("enqueue", "--account", "acme", "-").status == 2
    assert cli(*COMMAND, tmp_path / "absent.ndjson").status == 2
    unknown = cli("enqueue", "--account", "nobody", "--type", "message", "-", stdin="1\n2\n")
    assert (unknown.status, unknown.err.splitlines()[0]) == (1, "Error: there is no account 'nobody'")
    assert stored(database) == []


def test_a_process_reads_standard_input(environment: dict[str, str], database: Engine) -> None:
    make_account(database)
    ran = run("dispatcher", *COMMAND, "--json", "-", environment=environment, given=b'{"n":1}\nbad\n{"n":2}')
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["accepted"] == 2
    assert ran.stderr.startswith("line 2: data is not JSON")
    assert sorted(stored(database)) == [b'{"n":1}', b'{"n":2}']


def test_on_a_terminal_progress_moves_and_bad_lines_stay(environment: dict[str, str], database: Engine) -> None:
    make_account(database)
    outer, inner = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "dispatcher", *COMMAND, "--json", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=inner,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(inner)
        out, _ = process.communicate(b"1\nbad\n" + b"2\n" * 3000, timeout=60)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(outer)
    assert json.loads(out)["accepted"] == 3001
    assert b"line 2: data is not JSON" in shown
    assert b"lines" in shown


def test_a_line_is_read_in_bounded_memory() -> None:
    class Endless:
        def __init__(self) -> None:
            self.left, self.longest = 200, 0

        def readline(self, limit: int) -> bytes:
            self.left -= 1
            self.longest = max(self.longest, limit)
            return b"x" * limit if self.left > 0 else b""

    stream = Endless()
    ((number, line),) = ndjson.read_lines(stream)  # type: ignore[arg-type]
    assert number == 1
    assert len(line) <= stream.longest < 2 * MAX_DATA_BYTES
