"""The help of every command: short, aligned, complete, and there at once."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dispatcher.cli.app import app
from dispatcher.cli.command_tree import PANELS, RUN_SH, Branch
from dispatcher.cli.contract_options import option_of
from dispatcher.cli.help_page import choices_of
from dispatcher.version import __version__
from dispatcher.webhooks.contract import DeliveryContract
from tests.each import each

ROOT = Path(__file__).parents[4]
WORDS = {word: entry for words in PANELS.values() for word, entry in words.items()}
GROUPS = [(), *((word,) for word, entry in WORDS.items() if isinstance(entry, Branch))]
COMMANDS = [
    (word, *below)
    for word, entry in WORDS.items()
    for below in ([(name,) for name in entry.words] if isinstance(entry, Branch) else [()])
]
ABOUT = {
    (word, *below): entry.words[below[0]].about if isinstance(entry, Branch) else entry.about
    for word, *below in COMMANDS
    for entry in [WORDS[word]]
}
WITHOUT_JSON = {
    ("openapi",): "is JSON",
    ("up",): "runs until it is stopped",
    ("demo",): "is a show",
}

every_command = each("words", COMMANDS)


@cache  # made anew each time, it would take most of the time
def all_commands() -> Any:
    return typer.main.get_command(app)


def command(words: tuple[str, ...]) -> Any:
    found = all_commands()
    for word in words:
        found = found.commands[word]
    return found


@cache
def page(words: tuple[str, ...], *, columns: int = 80, option: str = "-h", program: str = "dispatcher") -> list[str]:
    ran = CliRunner().invoke(app, [*words, option], prog_name=program, env={"COLUMNS": str(columns)})
    assert (ran.exit_code, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def options(words: tuple[str, ...]) -> Iterator[Any]:
    yield from (one for one in command(words).params if one.param_type_name == "option")


@each("words", [*GROUPS, *COMMANDS])
def test_it_fits_80_columns_and_70_lines(words: tuple[str, ...]) -> None:
    lines = page(words)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 70
    assert page(words, option="--help") == lines
    assert max(map(len, page(words, columns=200))) <= 100


@every_command
def test_each_option_has_a_line_and_what_can_be_chosen_two(words: tuple[str, ...]) -> None:
    lines = page(words)
    for option in options(words):
        assert option.help, option.name
        name = max(option.opts, key=len)
        at = next(number for number, line in enumerate(lines) if line.startswith("  -") and _names(line, name))
        assert not lines[at].endswith(" default"), lines[at]  # a default that is shown as nothing
        more = list(takewhile(lambda line: line.startswith("   "), lines[at + 1 :]))
        assert len(more) <= (1 if choices_of(option) else 0), lines[at : at + 3]


def _names(line: str, name: str) -> bool:
    words = line.replace(",", " ").replace("/", " ").split()
    return name in words or f"--[no-]{name[2:]}" in words


@every_command
def test_the_list_says_what_the_page_says(words: tuple[str, ...]) -> None:
    first, *_ = command(words).help.split("\n\n")
    assert first == ABOUT[words]
    assert f"{ABOUT[words].rstrip('.')}" in "\n".join(page(words[:-1]))


@every_command
def test_it_can_print_json(words: tuple[str, ...]) -> None:
    has = any("--json" in one.opts for one in options(words))
    assert has is (words not in WITHOUT_JSON)


@pytest.mark.parametrize("words", [("webhook", "create"), ("webhook", "update")], ids=" ".join)
def test_each_member_of_the_contract_is_an_option(words: tuple[str, ...]) -> None:
    text = " ".join(" ".join(page(words)).split())
    given = {option for one in options(words) for option in one.opts}
    for name, field in DeliveryContract.model_fields.items():
        assert field.description, name
        if field.annotation is not NoneType:
            assert option_of(name) in given
            assert field.description.rstrip(".") in text


def test_the_first_page_lists_what_run_sh_does_itself_where_it_is_called_so() -> None:
    ours, theirs = "\n".join(page(())), "\n".join(page((), program="./run.sh"))
    for word, about in RUN_SH.items():
        assert about not in ours
        assert f"  {word} " in theirs
        assert about in theirs
    assert set(RUN_SH) == set(re.findall(r"^([a-z]+)\)$", (ROOT / "run.sh").read_text(), re.MULTILINE))
    assert "./run.sh settings" in theirs
    assert "Example: ./run.sh account create acme" in page(("account", "create"), program="./run.sh")


def test_the_version_is_reported() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"dispatcher {__version__}\n"


def test_a_list_of_commands_waits_for_nothing_of_theirs() -> None:
    script = (
        "import sys\n"
        "from dispatcher.cli import main\n"
        "for group in sys.argv[1:]:\n"
        "    sys.argv[1:] = [*group.split(), '-h']\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        print(group, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    groups = [" ".join(words) for words in GROUPS]
    ran = subprocess.run(
        [sys.executable, "-c", script, *groups], capture_output=True, check=True, text=True, timeout=60
    )
    assert ran.stdout.count("Usage: dispatcher") == len(groups) == len(ran.stderr.splitlines())
    for line in ran.stderr.splitlines():
        loaded = set(line.split())
        assert loaded & {"sqlalchemy", "celery", "cryptography", "fastapi", "alembic", "requests", "pycurl"} == set()


def test_an_update_shows_no_defaults_because_it_keeps_what_a_webhook_has() -> None:
    assert "default" in " ".join(page(("webhook", "create")))
    text = " ".join(page(("webhook", "update")))
    assert "Schedule of retries: default, hour, doubling" in text  # that one is called so
    assert "default" not in text.replace("retries: default", "")


@pytest.mark.parametrize("words", [("webhook", "create"), ("webhook", "update")], ids=" ".join)
def test_of_the_headers_file_all_lines_are_read_and_of_others_the_first(words: tuple[str, ...]) -> None:
    assert "The first line of FILE is read, for --headers-from all lines." in " ".join(page(words))


def test_what_runs_until_ctrl_c_says_that_this_is_a_proper_end() -> None:
    assert "130 stopped by Ctrl-C (`up`, `listen` and `status --watch`: 0)" in " ".join(" ".join(page(())).split())
    for word in ("up", "listen"):
        assert re.search(r"Exit status: 0 .*stopped by Ctrl-C", " ".join(page((word,))))


def test_an_example_can_be_copied_though_it_takes_two_lines() -> None:
    seen = 0
    for words in COMMANDS:
        *_, last = (command(words).epilog or "").split("\n\n")
        if last.startswith("Example: "):
            seen += " \\\n" in "\n".join(page(words))
            assert last in "\n".join(page(words)).replace(" \\\n  ", " "), words
    assert seen >= 5
