"""How a call ends: one line on standard error, a status that says what it was, and never a traceback."""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from sqlalchemy import Engine

import dispatcher.cli
from tests.factories import make_account, rows
from tests.forked import Forked, Passed, context
from tests.integration.cli.conftest import Cli

COMMAND = [sys.executable, "-m", "dispatcher"]
FULL = Path("/dev/full")
CTRL_C = b"\x03"

# Each command is a process of its own, but all are forked from one that has loaded what commands load: that is most of
# what a command costs.
FORKING = """
import gc, os, sys
import dispatcher.cli.app, dispatcher.installation

gc.freeze()  # otherwise each looks through all that was loaded when it ends, and so copies it
folder, *given = sys.argv[1:]
number = 0
while given:
    end = given.index(";")
    if (pid := os.fork()) == 0:
        os.dup2(os.open(f"{folder}/{number}", os.O_WRONLY | os.O_CREAT), 2)
        sys.argv[1:] = given[:end]
        dispatcher.cli.main()
        sys.exit()
    os.write(2, b"%d " % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    del given[: end + 1]
    number += 1
"""

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")


def run(*words: str | bytes, **options: object) -> subprocess.CompletedProcess[str]:
    # Output is kept back until the end, as it is wherever nobody asks for other.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    given: dict[str, object] = {"capture_output": True, "text": True, "timeout": 60, "env": buffered, **options}
    return subprocess.run([*COMMAND, *words], check=False, **given)  # type: ignore[call-overload, no-any-return]


def run_each(*commands: list[str], folder: Path, **options: object) -> list[tuple[int, bytes]]:
    """Runs commands one after the other in an interpreter of their own; the status of each, and what it wrote to
    standard error."""
    words = [word for command in commands for word in (*command, ";")]
    ran = subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-c", FORKING, folder, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        **options,
    )
    statuses = [int(status) for status in ran.stderr.split()]
    assert len(statuses) == len(commands)
    return [(status, (folder / str(number)).read_bytes()) for number, status in enumerate(statuses)]


def fork_each(*commands: Sequence[str | bytes], folder: Path, stdout: IO[bytes]) -> list[tuple[int, bytes]]:
    """The same where it does not matter how the interpreter started."""
    processes = []
    for number, command in enumerate(commands):
        with (folder / str(number)).open("wb") as stderr:
            given = [os.fsdecode(word) for word in command]
            streams = {1: Passed(stdout.fileno()), 2: Passed(stderr.fileno())}
            process = context.Process(target=_command, args=(given, dict(os.environ), streams))
            process.start()
        process.join(60)
        processes.append(process)
    return [(process.exitcode, (folder / str(number)).read_bytes()) for number, process in enumerate(processes)]


def _command(given: list[str], environment: dict[str, str], streams: dict[int, Any]) -> None:
    for number, passed in streams.items():
        os.dup2(passed, number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it is no path
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = given
    dispatcher.cli.main()


@needs_full
def test_a_full_disk_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    commands = [["-h"], ["--version"], ["openapi"], ["secrets", "generate-key"], ["account", "list"]]
    with FULL.open("wb") as full:
        ran = fork_each(*commands, folder=tmp_path, stdout=full)
    assert ran == [(1, b"Error: cannot write the output: No space left on device\n")] * len(commands)


def test_nobody_who_reads_is_no_error_of_ours(environment: dict[str, str], tmp_path: Path) -> None:
    commands = [["-h"], ["openapi"], ["account", "list", "--json"]]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        ran = fork_each(*commands, folder=tmp_path, stdout=nobody)
    assert ran == [(141, b"")] * len(commands)


def test_no_output_at_all_is_none_either() -> None:
    script = f"exec {sys.executable} -m dispatcher -h >&-"
    ran = subprocess.run(["/bin/sh", "-c", script], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert "Traceback" not in ran.stderr


def test_ctrl_c_ends_a_command_without_a_word_of_python(database: Engine, environment: dict[str, str]) -> None:
    make_account(database)
    words = [*COMMAND, "enqueue", "--account", "acme", "--type", "message.sent", "-"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        # Far more than the pipe holds: once it is taken, the command has read some thousand lines.
        process.stdin.write(b'"%s"\n' % (b"x" * 96) * 4_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert out.startswith(b"accepted ")


def test_ctrl_c_at_a_question_is_one_too(database: Engine, environment: dict[str, str]) -> None:
    make_account(database)
    status, said = at_terminal(["webhook", "create", "--account", "acme", "--type", "*"], "URL:", CTRL_C)
    assert status in {130, -signal.SIGINT}, said  # the second where it was pressed again while it was ending
    assert "Traceback" not in said
    assert rows(database, "SELECT 1 FROM dispatcher.webhooks") == []


def test_a_url_is_asked_for_where_it_is_not_given(database: Engine, environment: dict[str, str], cli: Cli) -> None:
    make_account(database)
    words = ["webhook", "create", "--account", "acme", "--type", "*", "--name", "asked"]
    status, _ = at_terminal(words, "URL:", b"https://example.com/in?key=planted\n")
    assert status == 0
    shown = cli("webhook", "show", "asked", "--reveal", "--json").document
    assert shown["url"] == "https://example.com/in?key=planted"


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "utf-16"},
    ],
    ids=str,
)
def test_an_odd_encoding_escapes_what_it_lacks(
    database: Engine, environment: dict[str, str], variables: dict[str, str], tmp_path: Path
) -> None:
    make_account(database, "süß")
    odd = {**environment, "PATH": os.environ["PATH"], **variables}
    commands = [["account", "list"], ["-h"], ["webhook", "list", "--account", "süß?"]]
    *shown, refused = run_each(*commands, folder=tmp_path, env=odd)
    assert [status for status, _ in shown] == [0, 0]
    assert refused[0] == 1
    assert b"Traceback" not in refused[1]


def test_bytes_that_are_no_text_are_refused(database: Engine, environment: dict[str, str], tmp_path: Path) -> None:
    commands = [
        [b"account", b"create", b"\xff"],
        [b"webhook", b"list", b"--account", b"\xff"],
        [b"event", b"show", b"\xff"],
    ]
    with Path(os.devnull).open("wb") as nothing:
        ran = fork_each(*commands, folder=tmp_path, stdout=nothing)
    for status, said in ran:
        assert status in {1, 2}
        assert said.startswith(b"Error: ")
        assert b"Traceback" not in said
    assert rows(database, "SELECT 1 FROM dispatcher.accounts") == []


def test_what_a_secret_is_read_as_does_not_depend_on_the_locale(
    database: Engine, environment: dict[str, str], cli: Cli
) -> None:
    make_account(database)
    odd = {**environment, "PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}
    words = ["webhook", "create", "--account", "acme", "--type", "*", "--name", "n", "--url-from", "-"]
    ran = run(*words, env=odd, input="https://example.com/ü\n".encode(), text=False)
    assert ran.returncode == 0, ran.stderr
    assert cli("webhook", "show", "n", "--reveal", "--json").document["url"] == "https://example.com/ü"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["webhok", "list"], "No such command 'webhok'. Did you mean 'webhook'?"),
        (["account", "list", "--jsn"], "No such option: --jsn"),
        (["webhook", "show"], "WEBHOOK is required"),
        (["event", "list"], "--account is required"),
        (["event", "show", "17"], "ID must be an id, such as 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"),
        (["delivery", "list", "--state", "lost"], "--state must be one of: ready, claimed, waiting, delivered, "),
        (["event", "list", "--account", "a", "--limit", "0"], "--limit must be at least 1"),
        (["event", "list", "--account", "a", "--limit", "many"], "--limit must be a whole number"),
        (["listen", "--port", "65536"], "--port must be at most 65,535"),
        (["webhook", "rotate-secret", "a", "--overlap", "nan"], "--overlap must be "),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_wrong_usage_names_the_option_and_where_help_is(cli: Cli, words: list[str], says: str) -> None:
    ran = cli(*words)
    assert (ran.status, ran.out) == (2, "")
    error, remedy = ran.err.splitlines()
    assert error.startswith(f"Error: {says}")
    assert remedy.startswith("All options: ")
    assert remedy.endswith(" -h")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--timeout", "61"], "--timeout must be at most 60"),
        (["--rate-limit", "0"], "--rate-limit must be at least 0.01"),
        (["--batch-size", "2", "--envelope", "object"], "a --batch-size above 1 needs the envelope array"),
        (["--user-agent", "ü"], "--user-agent has characters that are not allowed here"),
        (["--content-type", "text/html"], "--content-type must be one of: application/json, application/json; charset"),
        (["--schedule", "never"], "--schedule must be one of: default, hour, doubling"),
        (["--member", "a=b"], "--member must look like data=data"),
        (["--rule", "100=rejected"], "--rule must be for a final status"),
        (["--contact", "nobody"], "--contact must be one plain mail address"),
        (["--type", "a b"], "--type "),
        (["--url-from", "/no/such/file"], "--url-from cannot be read: No such file or directory"),
        (["--url", "https://example.com/", "--url-from", "-"], "--url and --url-from exclude each other"),
        (["--url-from", "-"], "--url-from finds no line for the URL on standard input"),
        ([], "--url-from is needed: there is no terminal to ask for the URL"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_is_refused_of_a_webhook_is_named_by_its_option(
    cli: Cli, database: Engine, options: list[str], says: str
) -> None:
    make_account(database)
    url = [] if any(option.startswith("--url") for option in options) or not options else ["--url", "https://a.test/"]
    ran = cli("webhook", "create", "--account", "acme", "--type", "*", *url, *options)
    assert ran.status in {1, 2}
    assert ran.out == ""
    assert ran.err.startswith(f"Error: {says}"), ran.err
    assert rows(database, "SELECT 1 FROM dispatcher.webhooks") == []


def at_terminal(words: Sequence[str], question: str, answer: bytes) -> tuple[int, str]:
    """Runs a command at a terminal of its own, answers its question; its status, and all that it showed."""
    ours, theirs = pty.openpty()
    process = Forked(("dispatcher", *words), os.environ, stdin=theirs, stdout=theirs)
    os.close(theirs)
    killer = threading.Timer(60, process.kill)
    killer.start()
    said = b""
    while True:
        if not select.select([ours], [], [], 3)[0]:
            # Python does not see a signal that comes between its last look and its read: people press again.
            if question.encode() in said and answer == CTRL_C:
                os.write(ours, answer)
            continue
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux says so that the other end is closed
            break
        if not piece:
            break
        if question.encode() in said + piece and question.encode() not in said:
            os.write(ours, answer)
        said += piece
    killer.cancel()
    status = process.wait(60)
    os.close(ours)
    return status, said.decode()
