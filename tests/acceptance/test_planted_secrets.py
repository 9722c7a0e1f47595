"""Secrets are planted wherever the engine accepts them, and all of it runs through success and failure: nothing that an
operator or another account of the machine can look at shows one."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dispatcher import Unavailable, enqueue
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from dispatcher.wake import DELIVER, NOTICES, SWEEP
from tests.behaviours import Answer, final
from tests.conftest import ENCRYPTION_KEY
from tests.dead_ports import refusing_port
from tests.deploy_files import DEPLOY
from tests.factories import TESTER, attempts, change, deliveries, make_account, make_webhook
from tests.installations import installation_for
from tests.planted import shapes
from tests.receiver import Receiver

pytestmark = pytest.mark.node

URL_TOKEN = "planted-url-token-5f1c"
BASIC_PASSWORD = "planted-basic-word-77ab"
PHONE = "27835550199"
TEXT = "planted words of a message"
IDEMPOTENCY_KEY = "planted-idempotency-key-3e"
MAIL_PASSWORD = "planted-mail-word-90cd"
FLOWER_PASSWORD = "planted-flower-word-12ef"
METRICS_TOKEN = "planted-metrics-word-34ba"
SERVER_PASSWORD = "test-password"  # of the suite's PostgreSQL and Valkey
ECHOED = f"cannot take {PHONE}: {TEXT}"  # receivers repeat what they got in error answers

MESSAGE = {"id": "17", "type": "RECEIVED", "from": PHONE, "to": "1543", "body": TEXT}
PLANTED = (
    URL_TOKEN,
    BASIC_PASSWORD,
    PHONE,
    TEXT,
    IDEMPOTENCY_KEY,
    MAIL_PASSWORD,
    FLOWER_PASSWORD,
    METRICS_TOKEN,
    SERVER_PASSWORD,
    ENCRYPTION_KEY,
)


@dataclass(frozen=True, slots=True)
class Started:
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Tree:
    """The processes of one engine, their output, and their command lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: dict[str, Started] = {}
        self.command_lines: set[str] = set()

    def start(self, name: str, *words: str, **more: str) -> Started:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **more},
                start_new_session=True,
            )
        self.started[name] = Started(name, process, log)
        return self.started[name]

    def wait(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self.look()
            for part in self.started.values():
                assert part.process.poll() is None, f"{part.name} ended:\n{part.said}"
            said = "\n".join(f"--- {part.name}\n{part.said[-5000:]}" for part in self.started.values())
            assert time.monotonic() < deadline, f"did not happen in {seconds} s:\n{said}"
            time.sleep(0.05)

    def look(self) -> None:
        """Records the command lines, including titles that processes give themselves."""
        for part in self.started.values():
            process = psutil.Process(part.process.pid)
            for one in (process, *process.children(recursive=True)):
                try:
                    self.command_lines.add(" ".join(one.cmdline()))
                except psutil.Error:
                    continue  # ended meanwhile

    def stop(self) -> None:
        for part in self.started.values():
            part.process.send_signal(signal.SIGTERM)
        for part in self.started.values():
            assert part.process.wait(60) in {0, -signal.SIGTERM}, part.said

    def kill(self) -> None:
        for part in self.started.values():
            if part.process.poll() is None:
                part.process.kill()
                part.process.wait(20)


@dataclass(frozen=True, slots=True)
class Flower:
    """Flower, as seen with its password."""

    port: int

    def get(self, path: str) -> str:
        answer = requests.get(
            f"http://127.0.0.1:{self.port}{path}",
            auth=("dispatcher", FLOWER_PASSWORD),
            timeout=30,
            proxies={"http": ""},
        )
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.text

    def answers(self) -> bool:
        try:
            return bool(self.get("/healthcheck"))
        except requests.ConnectionError:
            return False

    def tasks(self, name: str, state: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads(self.get("/api/tasks?limit=1000"))
        return [task for task in found.values() if (task["name"], task["state"]) == (name, state)]

    def everything(self) -> Iterator[tuple[str, str]]:
        """Each page and each document, with its path."""
        ids = json.loads(self.get("/api/tasks?limit=1000"))
        nodes = json.loads(self.get("/api/workers?refresh=1"))
        assert len(nodes) == 2
        paths = [
            "/",
            "/workers",
            "/tasks",
            "/broker",
            "/metrics",
            "/api/tasks",
            "/api/task/types",
            "/api/queues/length",
        ]
        paths += ["/api/workers", *(f"/worker/{node}" for node in nodes)]
        paths += [path for task in ids for path in (f"/task/{task}", f"/api/task/info/{task}")]
        return ((path, self.get(path)) for path in paths)


@pytest.fixture
def tree(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tree]:
    variables = {
        "DISPATCHER_FLOWER_PASSWORD": FLOWER_PASSWORD,
        "DISPATCHER_METRICS_TOKEN": METRICS_TOKEN,
        "DISPATCHER_SMTP_HOST": "127.0.0.1",
        "DISPATCHER_SMTP_PORT": str(refusing_port()),
        "DISPATCHER_SMTP_USERNAME": "dispatcher",
        "DISPATCHER_SMTP_PASSWORD": MAIL_PASSWORD,
        "DISPATCHER_LOG_LEVEL": "debug",  # the most detailed level
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        started = Tree(tmp_path)
        stack.callback(started.kill)
        yield started


def test_no_planted_secret_is_seen_anywhere(
    database: Engine, settings: Settings, broker: "redis.Redis", receiver: Receiver, tree: Tree
) -> None:
    flower, api_port = Flower(refusing_port()), refusing_port()
    token = _make_key(database)
    planted = (*PLANTED, token.partition(".")[2])
    _make_webhooks(database, settings, receiver)

    celery = ("celery", "-A", "workers")
    conf = f"--conf={DEPLOY / 'flower' / 'flowerconfig.py'}"
    tree.start("flower", *celery, "flower", conf, f"--port={flower.port}", "--logging=debug")
    tree.start("api", "dispatcher.web", "--port", str(api_port))
    tree.wait(lambda: flower.answers() and "running on" in tree.started["api"].said)
    tree.wait(lambda: broker.keys("_kombu.binding.celeryev"))

    # What waits in the broker before any worker runs, after events from the API and from `enqueue`.
    answer = _post(api_port, token, "/v1/events", MESSAGE)
    assert (answer.status_code, answer.json()["deliveries"]) == (202, 6)
    enqueue("message.big", {**MESSAGE, "more": "m" * 9000}, account="acme")
    tree.wait(lambda: broker.llen("deliver"))  # the API wakes after it has answered
    queued = _broker_contents(broker)
    (wake,) = (json.loads(message) for message in broker.lrange("deliver", 0, -1))
    assert json.loads(base64.b64decode(wake["body"]))[:2] == [[], {}], "the wake has arguments"
    assert (wake["headers"]["argsrepr"], wake["headers"]["kwargsrepr"]) == ("()", "{}")

    tree.start("deliver", *celery, "worker", "-Q", "deliver", "-n", "deliver@%h", "-c", "2")
    second = ("worker", "-Q", "mail,upkeep", "-n", "upkeep@%h", "-c", "3")
    tree.start("upkeep", *celery, *second, DISPATCHER_LOG_FORMAT="console")
    tree.wait(lambda: _outcomes(database) == OUTCOMES)
    assert {row.failure for row in attempts(database)} >= {"connection_refused", "broken_answer"}
    shown_token = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    metrics = requests.get(f"http://127.0.0.1:{api_port}/metrics", headers=shown_token, timeout=30).text
    assert "dispatcher_open_deliveries" in metrics

    # A result for Flower, which loops have when they end; then failures: a child killed in the middle of a request,
    # tables that are gone.
    ended = tree.started.pop("deliver")
    ended.process.send_signal(signal.SIGTERM)
    assert ended.process.wait(60) == 0, ended.said
    tree.wait(lambda: flower.tasks("dispatcher.deliver", "SUCCESS"))
    results = [task["result"] for task in flower.tasks("dispatcher.deliver", "SUCCESS")]
    counts = [{word: int(n) for word, n in re.findall(r"'(\w+)': (\d+)", result)} for result in results]
    assert {word: sum(count[word] for count in counts) for word in counts[0]} == {
        "claimed": 7,
        "delivered": 1,
        "retried": 4,
        "discarded": 2,
    }
    tree.start("deliver again", *celery, "worker", "-Q", "deliver", "-n", "deliver@%h", "-c", "2")
    tree.started["deliver"] = tree.started.pop("deliver again")
    _kill_a_child_in_flight(tree, receiver)
    _break_tables(tree, database, settings, api_port, token)
    tree.wait(lambda: flower.tasks("dispatcher.deliver", "FAILURE") and flower.tasks("dispatcher.sweep", "FAILURE"))
    tree.wait(lambda: flower.tasks("dispatcher.notices", "FAILURE"))
    (failed, *_) = flower.tasks("dispatcher.sweep", "FAILURE")
    assert "UndefinedTable" in failed["exception"]

    seen = [(f"Flower {path}", page) for path, page in flower.everything()]
    seen += [("metrics", metrics), ("broker before", queued), ("broker after", _broker_contents(broker))]
    tree.look()
    tree.stop()
    seen += [("command line", line) for line in tree.command_lines]
    seen += [(f"log of {part.name}", part.said) for part in (ended, *tree.started.values())]

    _assert_planted(receiver, database)
    assert all(part.said for part in tree.started.values())
    assert "Traceback" in tree.started["upkeep"].said
    leaks = [
        f"{place}: {secret} in ...{text[max(0, text.index(shape) - 200) : text.index(shape) + 100]}"
        for place, text in seen
        for secret in planted
        for shape in shapes(secret)
        if shape in text
    ]
    assert not leaks, "\n\n".join(leaks)


def test_what_enqueue_raises_holds_neither_the_message_nor_its_key(database: Engine, settings: Settings) -> None:
    make_account(database)
    change(database, "ALTER TABLE dispatcher.subscriptions RENAME TO subscriptions_away")
    try:
        with pytest.raises(Unavailable) as raised:
            enqueue("message.sent", MESSAGE, account="acme", idempotency_key=IDEMPOTENCY_KEY)
    finally:
        change(database, "ALTER TABLE dispatcher.subscriptions_away RENAME TO subscriptions")
    cause = raised.value.__cause__
    assert isinstance(cause, SQLAlchemyError)
    shown = "".join(traceback.format_exception(raised.value)) + f"{raised.value!r} {cause!r} {cause.orig!r}"  # type: ignore[attr-defined]
    assert [secret for secret in (PHONE, TEXT, IDEMPOTENCY_KEY) if secret in shown] == []


OUTCOMES = {
    ("delivered", None): 1,
    ("discarded", "rejected"): 1,
    ("discarded", "render_failed"): 1,
    ("waiting", None): 4,
}


def _outcomes(database: Engine) -> dict[tuple[str, str | None], int]:
    found: dict[tuple[str, str | None], int] = {}
    for row in deliveries(database):
        found[row.state, row.reason] = found.get((row.state, row.reason), 0) + 1
    return found


def _make_key(database: Engine) -> str:
    make_account(database)
    with Session(database) as session, session.begin():
        return create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND]).token


def _make_webhooks(database: Engine, settings: Settings, receiver: Receiver) -> None:
    """One for each outcome that a delivery can have."""
    receiver.script("/reject", Answer(404, body=ECHOED.encode()))
    receiver.script("/broken", (f"{ECHOED}\r\n\r\n".encode(),))
    receiver.script("/moved", Answer(302, (("Location", f"/to?key={URL_TOKEN}&who={PHONE}"),), body=ECHOED.encode()))
    nobody = f"127.0.0.1:{refusing_port()}"
    urls = {
        "ok": receiver.url("/ok"),
        "reject": receiver.url("/reject"),
        "moved": receiver.url("/moved"),
        "broken": receiver.url("/broken"),
        "refused": f"http://{nobody}/",
        "tls": receiver.url("/tls").replace("http:", "https:"),
    }
    for name, url in urls.items():
        make_webhook(
            database,
            settings,
            url=f"{url}?key={URL_TOKEN}",
            name=name,
            event_types=["message.sent"],
            contact_email="somebody@example.com",
            authorization=Basic("customer", BASIC_PASSWORD),
        )
    get = {"method": "GET"}  # its message does not fit into a URL
    url = receiver.url(f"/get?key={URL_TOKEN}")
    make_webhook(database, settings, url=url, event_types=["message.big"], contract=get)
    url = receiver.url(f"/slow?key={URL_TOKEN}")
    make_webhook(
        database, settings, url=url, event_types=["message.slow"], authorization=Basic("customer", BASIC_PASSWORD)
    )


def _post(port: int, token: str, path: str, message: dict[str, str]) -> requests.Response:
    return requests.post(
        f"http://127.0.0.1:{port}{path}",
        json={"type": "message.sent", "data": message, "subject": PHONE},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": IDEMPOTENCY_KEY},
        timeout=30,
        proxies={"http": ""},
    )


def _kill_a_child_in_flight(tree: Tree, receiver: Receiver) -> None:
    gate = receiver.gate()
    receiver.script("/slow", (gate, final(200)))
    enqueue("message.slow", MESSAGE, account="acme")
    receiver.wait_for(1, timeout=30, path="/slow")
    deliver = tree.started["deliver"]
    for child in psutil.Process(deliver.process.pid).children():
        child.kill()
    tree.wait(lambda: "WorkerLostError" in deliver.said)
    gate.open()


def _break_tables(tree: Tree, database: Engine, settings: Settings, api_port: int, token: str) -> None:
    """Removes tables for a while: tasks raise, the delivery loop cannot write, the API cannot store."""
    waker = installation_for(settings).waker
    gone = ("notices", "subscriptions")
    try:
        enqueue("message.sent", MESSAGE, account="acme")
        for table in gone:
            change(database, f"ALTER TABLE dispatcher.{table} RENAME TO {table}_away")
        # Not due yet for a loop, but for the task.
        change(database, "UPDATE dispatcher.leases SET until = now() + interval '2 seconds' WHERE name = 'sweep'")
        assert all(waker.wake_another(task) for task in (DELIVER, SWEEP, NOTICES))
        broken = {**MESSAGE, "id": "18"}
        assert _post(api_port, token, "/v1/events", broken).status_code >= 500
        tree.wait(lambda: "UndefinedTable" in tree.started["deliver"].said)
        tree.wait(lambda: all(f"{task}[" in tree.started["upkeep"].said for task in (SWEEP, NOTICES)))
    finally:
        for table in gone:
            change(database, f"ALTER TABLE IF EXISTS dispatcher.{table}_away RENAME TO {table}")


def _assert_planted(receiver: Receiver, database: Engine) -> None:
    """The secrets were in use: otherwise the search would prove nothing."""
    (first, *_) = receiver.at("/ok")
    assert URL_TOKEN in first.target
    assert first.header("Authorization") == f"Basic {base64.b64encode(f'customer:{BASIC_PASSWORD}'.encode()).decode()}"
    assert first.json() == [MESSAGE]
    bodies = [bytes(row.answer_excerpt) for row in attempts(database) if row.answer_excerpt]
    assert ECHOED.encode() in bodies, "the receiver's answer is kept, in the database"


def _broker_contents(broker: "redis.Redis") -> str:
    """Every key and value, with message bodies decoded."""
    found: list[str] = []
    for key in broker.keys("*"):
        match broker.type(key):
            case "string":
                values = [broker.get(key)]
            case "list":
                values = broker.lrange(key, 0, -1)
            case "set":
                values = list(broker.smembers(key))
            case "hash":
                values = [*broker.hgetall(key).keys(), *broker.hgetall(key).values()]
            case _:
                values = broker.zrange(key, 0, -1)
        found += [str(key), *(str(value) for value in values)]
        for body in re.findall(r'"body": "([^"]+)"', " ".join(map(str, values))):
            found.append(base64.b64decode(body).decode(errors="replace"))
    return "\n".join(found)
