"""docs/sql.md, from top to bottom."""

import re
import shutil
import subprocess
import textwrap
from contextlib import closing
from importlib import import_module
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.factories import change, make_webhook, rows
from tests.integration.docs.blocks import ROOT, blocks_of
from tests.integration.docs.reader import Reader

PAGE = "docs/sql.md"


def code_in(language: str) -> str:
    (code,) = (block.code for block in blocks_of(PAGE) if block.language == language)
    return code


def test_the_page_runs_from_top_to_bottom(reader: Reader, settings: Settings, database: Engine) -> None:
    reader.read_to("account")
    make_webhook(database, settings, url="https://example.com/hook")
    statements = code_in("sql")
    try:
        with closing(psycopg2.connect(settings.database_url.get_secret_value().replace("+psycopg2", ""))) as connection:
            connection.autocommit = True  # as psql: the transaction is the page's own
            connection.cursor().execute(statements)
            with connection.cursor() as cursor:
                cursor.execute(statements.replace("COMMIT;", ""))
                assert [(row[1], row[2]) for row in cursor.fetchall()] == [(1, True)]
        (event,) = rows(database, "SELECT subject, type, convert_from(data, 'UTF8') AS data FROM dispatcher.events")
        assert event == (
            "4023457654",
            "message.outbound.delivered",
            '{"id": "4023457654", "cost": 12345678901234567890.10}',
        )
        assert rows(database, "SELECT count(*) FROM public.sms") == [(1,)]
    finally:
        change(database, "DROP TABLE IF EXISTS public.sms")
    reader.read_to_the_end()


@pytest.mark.parametrize(
    ("language", "name", "command"),
    [
        ("go", "messages.go", ("gofmt", "-l", "messages.go")),  # to compile all that it imports takes a minute
        ("java", "Messages.java", ("javac", "-Xlint:all", "-Werror", "Messages.java")),
    ],
)
def test_the_examples_are_of_their_language(tmp_path: Path, language: str, name: str, command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    (tmp_path / name).write_text(code_in(language))
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_the_example_in_javascript_is_that_of_the_program() -> None:
    assert textwrap.indent(code_in("js"), "    ") in (ROOT / "examples/node/delivered.mjs").read_text()


def test_whoever_types_the_whole_page_sends_each_number_once() -> None:
    numbers = re.findall(r"subject => '(\d+)'|delivered\.mjs (\d+)|go run \. (\d+)", (ROOT / PAGE).read_text())
    assert len(numbers) == len(set(filter(None, map("".join, numbers)))) == 3


def test_every_refusal_of_the_function_is_on_the_page() -> None:
    functions = import_module("dispatcher.db.migrations.versions.0019_functions")
    states = set(re.findall("'(WH[0-9]{3})'", functions.ENQUEUE))
    assert states == set(re.findall("`(WH[0-9]{3})`", (ROOT / PAGE).read_text())) != set()
