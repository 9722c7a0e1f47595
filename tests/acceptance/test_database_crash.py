"""PostgreSQL is killed while many threads and many connections send events, and comes back."""

import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import Signals
from typing import TypeAlias
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from dispatcher import Producer, enqueue
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.db.migrate import upgrade
from dispatcher.embedded.servers.ports import LOOPBACK, free_port
from dispatcher.embedded.spawning.spawn import spawn
from dispatcher.settings import read_settings
from tests.crashing_servers import CrashingPostgres
from tests.factories import TESTER, make_webhook, rows
from tests.process_table import eventually

pytestmark = pytest.mark.node

THREADS, CONNECTIONS = 16, 32
PATIENCE = 12.0  # seconds: of a call, at most
Call: TypeAlias = Callable[[int, str | None], UUID | str]  # a number and a key -> the event, or why there is none
_numbers = itertools.count()


class Front:
    """Callers of one kind, and what they were told. Each second event has a key, and is sent until it is accepted."""

    def __init__(self, name: str, count: int, begin: Callable[[ExitStack], Call]) -> None:
        self.accepted: dict[int, UUID] = {}  # number -> event
        self.refusals: Counter[str] = Counter()
        self.slowest = 0.0
        self._begin, self._stopping = begin, threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{number}") for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), thread.name

    def accepts(self, more: int) -> bool:
        """Whether it goes on: so many are accepted from now on."""
        before = len(self.accepted)
        return eventually(lambda: len(self.accepted) >= before + more)

    def _run(self) -> None:
        with ExitStack() as stack:
            call, number = self._begin(stack), next(_numbers)
            while not self._stopping.is_set():
                key = f"key-{number}" if number % 2 else None
                began = time.monotonic()
                answer = call(number, key)
                self.slowest = max(self.slowest, time.monotonic() - began)
                if isinstance(answer, UUID):
                    self.accepted[number] = answer
                else:
                    self.refusals[answer] += 1
                    time.sleep(0.01)
                if isinstance(answer, UUID) or key is None:
                    number = next(_numbers)


@contextmanager
def threads(producer: Producer) -> Iterator[Front]:
    def call(number: int, key: str | None) -> UUID | str:
        try:
            return enqueue("a", number, account="acme", idempotency_key=key, producer=producer).event_id
        except Exception as error:  # noqa: BLE001 - told by its name
            return type(error).__name__

    front = Front("threads", THREADS, lambda _: call)
    try:
        yield front
    finally:
        front.stop()


@contextmanager
def connections(port: int, token: str) -> Iterator[Front]:
    def begin(stack: ExitStack) -> Call:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
        stack.callback(connection.close)

        def call(number: int, key: str | None) -> UUID | str:
            body = {"type": "a", "data": number, **({"idempotency_key": key} if key else {})}
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            try:
                connection.request("POST", "/v1/events", json.dumps(body), headers)
                answer = connection.getresponse()
                told = json.loads(answer.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                return type(error).__name__
            return UUID(told["event_id"]) if answer.status == 202 else str(answer.status)

        return call

    front = Front("connections", CONNECTIONS, begin)
    try:
        yield front
    finally:
        front.stop()


@contextmanager
def api(folder: Path) -> Iterator[int]:
    """The port of an API process."""
    port = free_port()
    with (folder / "api.log").open("wb") as output:
        words = [sys.executable, "-P", "-m", "dispatcher.web", "--port", str(port)]
        process: subprocess.Popen[bytes] = spawn(words, death_signal=Signals.SIGKILL, cwd=folder, output=output)
    try:
        assert eventually(lambda: "Uvicorn running" in (folder / "api.log").read_text())
        yield port
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def postgres(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CrashingPostgres]:
    """A durable one, which this process and those that it starts use."""
    with CrashingPostgres(tmp_path / "postgres", password="test-password") as running:
        upgrade(running.url)
        monkeypatch.setenv("DATABASE_URL", running.url)
        monkeypatch.setenv("DISPATCHER_ACCOUNT_LIMITS", "events_per_second=off")  # they do not wait after a refusal
        yield running


@pytest.fixture
def eye(postgres: CrashingPostgres) -> Iterator[Engine]:
    engine = create_engine(postgres.url)
    yield engine
    engine.dispose()


def test_a_killed_database_loses_nothing_that_was_accepted_and_all_goes_on_by_itself(
    postgres: CrashingPostgres, eye: Engine, tmp_path: Path
) -> None:
    settings = read_settings()
    make_webhook(eye, settings, url="http://127.0.0.1:8089/hook")
    with Session(eye) as session, session.begin():
        token = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND]).token
    producer = Producer(settings)
    with ExitStack() as stack:
        port = stack.enter_context(api(tmp_path))
        stack.callback(producer.close)
        fronts = [stack.enter_context(threads(producer)), stack.enter_context(connections(port, token))]
        for front in fronts:
            assert front.accepts(200), front.refusals
        postgres.crash()
        for front in fronts:
            seen = front.refusals.total()
            assert eventually(lambda front=front, seen=seen: front.refusals.total() > seen + 20)
        postgres.start_again()
        for front in fronts:
            assert front.accepts(200), front.refusals
    by_threads, by_connections = fronts
    assert set(by_threads.refusals) <= {"Unavailable"}, by_threads.refusals
    assert set(by_connections.refusals) <= {"503"}, by_connections.refusals
    assert max(front.slowest for front in fronts) < PATIENCE
    eye.dispose()
    found = rows(
        eye,
        "SELECT e.id, convert_from(e.data, 'UTF8')::int AS number, e.xmin::text AS stored_by, "
        "e.delivery_count, count(d.id) AS deliveries "
        "FROM dispatcher.events e LEFT JOIN dispatcher.deliveries d ON d.event_id = e.id GROUP BY e.id, e.data, e.xmin",
    )
    stored = {row.number: row.id for row in found}
    assert len(stored) == len(found)  # none twice, whatever its sender was told
    accepted = by_threads.accepted | by_connections.accepted
    assert accepted == {number: stored.get(number) for number in accepted}
    assert {(row.delivery_count, row.deliveries) for row in found} == {(1, 1)}
    assert len({row.stored_by for row in found}) < len(found) / 2  # in groups
