"""docs/backends.md: each program runs as it is shown, and its row and its event are there together or not at all."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import requests
from sqlalchemy import Engine
from werkzeug.serving import make_server

from dispatcher.settings import Settings
from dispatcher.testing import collecting
from tests.dead_ports import refusing_port
from tests.factories import change, make_webhook, rows
from tests.integration.api.conftest import running_app
from tests.integration.docs.blocks import ROOT, blocks_of, example
from tests.process_table import eventually

PAGE = "docs/backends.md"


@pytest.fixture(autouse=True)
def shop(
    database: Engine, settings: Settings, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("SHOP_DATABASE_URL", environment["DATABASE_URL"].replace("+psycopg2", ""))
    monkeypatch.setenv("SHOP_BROKER_URL", environment["BROKER_URL"])
    make_webhook(database, settings, url="https://example.com/hook")
    program("table")
    yield
    change(database, "DROP TABLE public.sms")


def stored(database: Engine) -> list[tuple[str, str]]:
    """The numbers in the shop's table, and the subjects of events."""
    return [
        tuple(row)
        for row in rows(
            database, "SELECT s.id, e.subject FROM public.sms s FULL JOIN dispatcher.events e ON subject = s.id"
        )
    ]


def program(name: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": name}
    exec(compile(example(PAGE, name), f"{PAGE}: {name}", "exec"), names)
    return names


@contextmanager
def django_shop(folder: Path) -> Iterator[str]:
    """As a user runs it: Django's settings are a process's."""
    (folder / "shop.py").write_text(example(PAGE, "django"))
    port = refusing_port()
    command = [sys.executable, "shop.py", "runserver", "--noreload", str(port)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert eventually(partial(answers, f"http://127.0.0.1:{port}")), process.poll()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def answers(origin: str) -> bool:
    try:
        return bool(requests.get(origin, timeout=5).status_code)
    except requests.ConnectionError:
        return False


@contextmanager
def flask_shop(_: Path) -> Iterator[str]:
    names = program("flask")
    server = make_server("127.0.0.1", 0, names["app"], threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        names["engine"].dispose()


@contextmanager
def fastapi_shop(_: Path) -> Iterator[str]:
    names = program("fastapi")
    with running_app(names["app"]) as origin:
        yield origin


def test_each_program_of_the_page_is_run_here() -> None:
    shown = {block.name for block in blocks_of(PAGE) if block.mark != "not run"}
    assert shown == {"table", "django", "fastapi", "flask", "celery", "script", "test"}


@pytest.mark.parametrize("shop_of", [django_shop, flask_shop, fastapi_shop])
def test_a_request_stores_row_and_event_together_or_neither(
    shop_of: Callable[[Path], Any], database: Engine, broker: "redis.Redis", tmp_path: Path
) -> None:
    with shop_of(tmp_path) as origin:
        answer = requests.post(f"{origin}/sms/7/delivered", timeout=20)
        assert answer.status_code == 202, answer.text
        assert rows(database, "SELECT id::text FROM dispatcher.events") == [(answer.json()["event_id"],)]
        assert stored(database) == [("7", "7")]
        assert eventually(lambda: broker.llen("deliver") == 1)
        change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
        assert requests.post(f"{origin}/sms/8/delivered", timeout=20).status_code == 500
        assert stored(database) == [("7", "7")]


def test_the_shops_tests_see_what_is_committed_and_the_engine_gets_nothing(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = program("flask")
    monkeypatch.setitem(sys.modules, "shop", SimpleNamespace(**names))
    tests = [test for name, test in program("test").items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        with collecting() as enqueued:
            test(enqueued)
    assert stored(database) == [("7", None)]
    names["engine"].dispose()


def test_a_task_that_runs_again_stores_its_event_once(database: Engine, broker: "redis.Redis") -> None:
    names = program("celery")
    first, again = (names["delivered"].apply(["7"]).get() for _ in range(2))
    assert first == again
    assert stored(database) == [("7", "7")]
    assert broker.llen("deliver") == 1
    names["engine"].dispose()
    names["app"].close()


def test_a_script_stores_all_or_nothing_and_wakes_once_after_its_commit(
    database: Engine, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("7\n8\n"))
    with redirect_stdout(io.StringIO()) as printed:
        program("script")
    events = rows(database, "SELECT subject, id::text FROM dispatcher.events ORDER BY subject")
    assert [tuple(line.split()) for line in printed.getvalue().splitlines()] == [tuple(row) for row in events]
    assert len(stored(database)) == 2
    assert broker.llen("deliver") == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO("9\n7\n"))
    with redirect_stdout(io.StringIO()), pytest.raises(Exception, match="duplicate key"):
        program("script")
    assert len(stored(database)) == 2
