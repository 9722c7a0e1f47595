"""docs/receiving.md from top to bottom, and the programs that it names: they receive what the engine sends."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.conf import settings as django_settings
from django.core.wsgi import get_wsgi_application
from django.test.utils import override_settings
from redis import Redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from dispatcher.signing.keys import SigningKey, generate_signing_key
from dispatcher.verify import Receiver
from tests.example_receivers import (
    COMMANDS,
    COMPARES,
    FOLDER,
    NOT_KEPT,
    NOT_SIGNED,
    TAKEN,
    Running,
    assert_it_does_not_run_without_a_secret,
    assert_it_takes_what_is_ours_once_and_nothing_else,
    in_each_language,
    running,
    signed,
)
from tests.factories import deliver_all, deliveries, make_webhook
from tests.integration.api.conftest import running_app
from tests.integration.docs.blocks import blocks_of
from tests.integration.docs.reader import Reader

PAGE = "docs/receiving.md"

# Go and Java, which are compiled, are in tests/acceptance/test_receivers.py.
interpreted = in_each_language("python", "node", "php", "ruby")


@interpreted
def test_a_receiver_in_each_language_takes_what_is_ours_once_and_nothing_else(
    language: str, database: Engine, settings: Settings, tmp_path: Path
) -> None:
    assert_it_takes_what_is_ours_once_and_nothing_else(language, database, settings, tmp_path)


@interpreted
def test_no_receiver_runs_without_a_secret(language: str, tmp_path: Path) -> None:
    assert_it_does_not_run_without_a_secret(language, tmp_path)


@in_each_language("node", "php")
def test_with_the_loop_of_the_page_a_receiver_takes_each_message_of_a_batch_once(language: str, tmp_path: Path) -> None:
    (program,) = (word for word in COMMANDS[language] if word.startswith("receiver."))
    (loop,) = (block.code for block in blocks_of(PAGE) if block.language == {"node": "js"}.get(language, language))
    calls = re.compile(r"^ +(?:await )?keep\(.*\);$", re.MULTILINE)
    text, replaced = calls.subn(lambda _: loop, (FOLDER / program).read_text())
    assert replaced == 1
    (tmp_path / program).write_text(text)
    (tmp_path / "inbox").mkdir()
    key = generate_signing_key()
    one, two, three = (f'{{"event_id":"{name}","data":{{"id":"{name}"}}}}' for name in ("one", "two", "three"))
    with running(language, key.secret, tmp_path / "inbox", tmp_path) as receiver:
        assert isinstance(receiver, Running)
        for request_id, messages in {"first": (one, two), "second": (two, three)}.items():
            assert receiver.answer(*signed(request_id, f"[{','.join(messages)}]".encode(), key)) == TAKEN
        assert receiver.answer(*signed("third", b'[{"data":{}}]', key)) == NOT_KEPT
    assert receiver.kept() == {name: f'{{"id":"{name}"}}'.encode() for name in ("one", "two", "three")}


@pytest.mark.parametrize("language", COMMANDS)
def test_each_receiver_compares_in_constant_time(language: str) -> None:
    (program,) = (FOLDER / word for word in COMMANDS[language] if word.lower().startswith("receiver."))
    assert COMPARES[language] in program.read_text()


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def running_wsgi(app: Any) -> Iterator[str]:
    """The origin of a real server with this app."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running_django(urlpatterns: list[Any]) -> Iterator[str]:
    """The origin of a real server with these routes, behind Django's usual check of CSRF tokens."""
    routes = ModuleType("routes")
    routes.__dict__["urlpatterns"] = urlpatterns
    if not django_settings.configured:
        django_settings.configure(LOGGING_CONFIG=None)
    with (
        override_settings(
            ALLOWED_HOSTS=["127.0.0.1"],
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
            ROOT_URLCONF=routes,
        ),
        running_wsgi(get_wsgi_application()) as origin,
    ):
        yield origin


def assert_it_takes_each_event_once(
    database: Engine, settings: Settings, framework: str, origin: str, key: str
) -> None:
    """What the examples with `keep` do behind any framework; `inbox.db` is in this process's folder."""
    receiver = Running(int(origin.rpartition(":")[2]), Path())
    for signing_key in (SigningKey(key), SigningKey(key), generate_signing_key()):
        make_webhook(database, settings, url=origin + "/hook", event_types=[framework], signing_keys=[signing_key])
    event = enqueue(framework, {"id": framework}, account="acme").event_id
    deliver_all(settings)
    states = [row.state for row in deliveries(database) if row.event_id == event]
    assert sorted(states) == ["delivered", "delivered", "waiting"]

    with closing(sqlite3.connect("inbox.db")) as inbox, inbox:
        kept = inbox.execute("SELECT id, type, CAST(body AS TEXT) FROM inbox WHERE type = ?", [framework]).fetchall()
        assert kept == [(str(event), framework, f'[{{"id":"{framework}"}}]')]
        inbox.execute("ALTER TABLE inbox RENAME TO away")
    unlucky = signed(f"unlucky-{framework}", b"[5]", SigningKey(key))
    assert receiver.answer(*unlucky)[0] == 500
    with closing(sqlite3.connect("inbox.db")) as inbox, inbox:
        inbox.execute("ALTER TABLE away RENAME TO inbox")
    assert receiver.answer(*unlucky) == TAKEN

    assert receiver.answer({}, b"[]") == TAKEN
    assert receiver.answer({}, b"[5]") == NOT_SIGNED
    with suppress(OSError):  # it may close the connection before it has read all of it
        assert receiver.answer(*signed("large", b"0" * (3 * 1024 * 1024), SigningKey(key)))[0] in {400, 413}


def test_the_page_runs_from_top_to_bottom(
    reader: Reader,
    database: Engine,
    settings: Settings,
    broker: "Redis",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader.read_to("key")
    key, inbox = reader.value("KEY"), tmp_path / "desk" / "inbox"
    with running("python", key, inbox) as receiver:
        assert not isinstance(receiver, str), receiver
        reader.port = receiver.port
        assert reader.read_to("by-hand") == '[{"id":"7","body":"Yes"}]'
        listed = reader.read_to("engine")
    (delivered,) = deliveries(database)
    assert delivered.state == "delivered"
    assert listed.splitlines()[-2:] == [f"{delivered.event_id}.json", "trial-1.json"]

    monkeypatch.setenv("SIGNING_KEYS", key)
    reader.read_to("keep")
    for framework, app, serve in (
        ("fastapi", "app", running_app),
        ("flask", "app", running_wsgi),
        ("django", "urlpatterns", running_django),
    ):
        reader.read_to(framework)
        with serve(reader.names[app]) as origin:
            assert_it_takes_each_event_once(database, settings, framework, origin, key)

    reader.read_to("seen")
    seen = reader.names["SeenInRedis"](broker)
    assert "one" not in seen
    seen.add("one")
    assert "one" in seen
    assert 2 * 24 * 3600 < broker.ttl("seen:one") <= 3 * 24 * 3600
    Receiver(key, hand_over=print, seen=seen)

    assert reader.read_to("verifier") == "NotSigned: not signed\n"
    reader.read_to_the_end()
