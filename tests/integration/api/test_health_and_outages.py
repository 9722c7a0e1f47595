"""Health, readiness, and what the API says when something it needs is away or broken."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from dispatcher.api.events import taking
from dispatcher.asgi import create_app
from dispatcher.db.engines import Limits
from dispatcher.db.heartbeat import Heartbeat
from dispatcher.db.partitions import week_of
from dispatcher.diagnosis import readiness
from dispatcher.embedded.errors import ServerAway
from dispatcher.embedded.given_servers import ask_broker
from dispatcher.ids import new_id
from dispatcher.installation import Installation
from dispatcher.settings import Settings, read_settings
from dispatcher.version import __version__
from dispatcher.web import heartbeats
from tests.factories import change, make_webhook, rows
from tests.integration.api.conftest import Api, Restarted, running_app
from tests.relay import relayed

PASSWORD = "s3cr3t-password"
SetVariable = Callable[[str, str], None]


@pytest.fixture
def set_variable(settings: Settings, monkeypatch: pytest.MonkeyPatch, restarted: Restarted) -> SetVariable:
    """Changes what the server finds in its environment."""

    def change(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        restarted()

    return change


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        yield silent.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_process_is_seen_until_it_ends(database: Engine, installation: Installation) -> None:
    def seen() -> list[tuple[str, str, int]]:
        """Those that were seen a moment ago: the server of the other tests may be seen, too."""
        found = rows(
            database, "SELECT id, kind, doing, pid FROM dispatcher.processes WHERE started_at > :began", began=began
        )
        return [(row.kind, row.doing, row.pid) for row in found]

    (began,) = rows(database, "SELECT now()")[0]
    with running_app(create_app(installation)):
        deadline = time.monotonic() + 10
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert seen() == [("api", "serving", os.getpid())]
    assert seen() == []


def test_a_process_without_tables_says_once_that_it_is_not_seen_and_serves(
    database: Engine, installation: Installation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "EVERY", 0.01)
    tried: list[int] = []

    def fail(*_: object, **__: object) -> None:
        tried.append(1)
        raise ProgrammingError("heartbeat", None, Exception())

    monkeypatch.setattr(Heartbeat, "beat", fail)
    with running_app(create_app(installation)) as origin:
        while len(tried) < 3:
            time.sleep(0.01)
        assert requests.get(f"{origin}/readyz", timeout=10).status_code == 200
    assert caplog.messages.count("the database fails (Exception): what has to do with it is tried again") == 1


def test_importing_the_app_connects_to_nothing_and_reads_no_settings(environment: dict[str, str]) -> None:
    script = "import socket; socket.socket.connect = None; from dispatcher.asgi import app; print(app.title)"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "DATABASE_URL": f"postgresql//u:{PASSWORD}@x"},  # wrong, so to read it would be an error
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("dispatcher\n", "")


@pytest.mark.parametrize("url", ["mysql://nowhere/none", f"postgresql//u:{PASSWORD}@x", ""])
def test_with_wrong_settings_it_is_alive_and_says_what_is_wrong(
    api: Api, set_variable: SetVariable, url: str, environment: dict[str, str]
) -> None:
    set_variable("DATABASE_URL", url)
    assert (api.get("/healthz").status_code, api.get("/healthz").json()) == (
        200,
        {"status": "ok", "version": __version__},
    )
    told = api.get("/readyz")
    assert (told.status_code, list(told.json()["parts"])) == (503, ["settings"])
    assert "DATABASE_URL must be a PostgreSQL URL" in told.json()["parts"]["settings"]["detail"]
    assert PASSWORD not in told.text
    set_variable("DATABASE_URL", environment["DATABASE_URL"])
    assert api.get("/readyz").json()["status"] == "ready"  # without a restart of the process


def test_a_live_process_is_healthy_whatever_else_is_away(api: Api, set_variable: SetVariable, closed_port: int) -> None:
    set_variable("DATABASE_URL", f"postgresql://u:{PASSWORD}@127.0.0.1:{closed_port}/events")
    assert (api.get("/healthz").status_code, api.get("/healthz").json()) == (
        200,
        {"status": "ok", "version": __version__},
    )


def test_ready_means_that_every_part_answers(api: Api) -> None:
    answer = api.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "parts": {
            part: {"status": "ok", "detail": None} for part in ("database", "encryption_keys", "broker", "transport")
        },
    }


@pytest.mark.parametrize(
    ("variable", "url", "part"),
    [
        ("DATABASE_URL", f"postgresql://u:{PASSWORD}@127.0.0.1:{{port}}/events", "database"),
        ("BROKER_URL", f"redis://:{PASSWORD}@127.0.0.1:{{port}}/0", "broker"),
    ],
)
@pytest.mark.parametrize("silent", [True, False])
def test_a_server_that_is_away_or_silent_is_reported_in_bounded_time(
    api: Api,
    set_variable: SetVariable,
    silent_port: int,
    closed_port: int,
    *,
    variable: str,
    url: str,
    part: str,
    silent: bool,
) -> None:
    set_variable(variable, url.format(port=silent_port if silent else closed_port))
    started = time.monotonic()
    answer = api.get("/readyz")
    assert time.monotonic() - started < 5
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert answer.json()["parts"][part]["status"] == "failed"
    others = {"database", "broker"} - {part}
    assert {answer.json()["parts"][other]["status"] for other in others} == {"ok"}
    assert PASSWORD not in answer.text


def test_a_broker_that_answers_and_takes_nothing_is_reported(
    api: Api, broker: "redis.Redis", environment: dict[str, str]
) -> None:
    broker.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        told = api.get("/readyz")
        with pytest.raises(ServerAway, match=r"the broker \(BROKER_URL\) takes nothing: ReadOnlyError"):
            ask_broker(environment["BROKER_URL"])
    finally:
        broker.execute_command("REPLICAOF", "NO", "ONE")
    part = {"status": "failed", "detail": "the broker (BROKER_URL) takes nothing: ReadOnlyError"}
    assert (told.status_code, told.json()["parts"]["broker"]) == (503, part)
    assert api.get("/readyz").json()["parts"]["broker"]["status"] == "ok"


def failed(api: Api, part: str) -> str:
    """What `/readyz` says of the only part that fails, besides what needs the same."""
    answer = api.get("/readyz")
    assert answer.status_code == 503
    parts = answer.json()["parts"]
    assert {name for name, found in parts.items() if found["status"] == "failed"} <= {part, "encryption_keys"}
    return str(parts[part]["detail"])


def test_a_database_that_takes_no_writes_is_not_ready_until_it_does(
    api: Api, database: Engine, set_variable: SetVariable, environment: dict[str, str]
) -> None:
    mode = "ALTER ROLE dispatcher SET default_transaction_read_only TO"
    for url in (environment["DATABASE_URL"], environment["DATABASE_URL"] + "?target_session_attrs=any"):
        set_variable("DATABASE_URL", url)
        assert api.get("/readyz").status_code == 200
        change(database, f"{mode} on")
        try:
            assert failed(api, "database") == "the database takes no writes at the moment: it is read-only"
        finally:
            change(database, f"{mode} off")
        assert api.get("/readyz").status_code == 200


@pytest.mark.parametrize("table", ["events", "deliveries", "idempotency_keys", "this week"])
def test_a_table_that_others_have_locked_is_not_ready(api: Api, database: Engine, table: str) -> None:
    locked = week_of("events", new_id()).name if table == "this week" else table
    with database.connect() as connection:
        connection.execute(text(f"LOCK dispatcher.{locked} IN SHARE MODE"))
        assert failed(api, "database") == "others have locked what is needed in the database"
    assert api.get("/readyz").status_code == 200


def test_tables_that_the_role_may_not_write_are_not_ready(
    api: Api, database: Engine, set_variable: SetVariable, environment: dict[str, str]
) -> None:
    change(database, "REVOKE INSERT ON dispatcher.events FROM dispatcher")
    try:
        assert "the user named in DATABASE_URL may not do this" in failed(api, "database")
    finally:
        change(database, "GRANT INSERT ON dispatcher.events TO dispatcher")
    assert api.get("/readyz").status_code == 200


def test_being_ready_takes_room_on_the_databases_disk_and_leaves_nothing(api: Api, database: Engine) -> None:
    def written() -> int:
        (found,) = rows(database, "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()")
        return int(found.temp_bytes)

    before = written()
    assert api.get("/readyz").status_code == 200
    deadline = time.monotonic() + 10
    while written() == before:
        assert time.monotonic() < deadline, "a check writes no temporary file"
        time.sleep(0.02)
    left = "SELECT name FROM dispatcher.accounts UNION ALL SELECT type FROM dispatcher.events"
    assert rows(database, left) == []


def test_calls_that_come_at_once_share_a_check(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, check = [], threading.Event(), readiness.check_database

    def slow(*given: Any) -> None:
        begun.append(given)
        go_on.wait(4)
        check(*given)

    monkeypatch.setitem(readiness.PARTS, "database", slow)
    with running_app(create_app(installation)) as origin, ThreadPoolExecutor(20) as callers:
        calls = [callers.submit(requests.get, f"{origin}/readyz", timeout=10) for _ in range(20)]
        while sum(call.running() for call in calls) < 20 or not begun:
            time.sleep(0.01)
        time.sleep(0.3)  # until all have sent their request
        go_on.set()
        assert {call.result().status_code for call in calls} == {200}
        assert len(begun) == 1
        assert requests.get(f"{origin}/readyz", timeout=10).status_code == 200
    assert len(begun) == 2


def test_wrong_or_missing_encryption_keys_are_reported(
    api: Api, settings: Settings, database: Engine, set_variable: SetVariable
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    for keys, told in (
        (Fernet.generate_key().decode(), "cannot be opened"),
        ("", "is not set"),
    ):
        set_variable("DISPATCHER_ENCRYPTION_KEYS", keys)
        answer = api.get("/readyz")
        assert answer.status_code == 503
        assert told in answer.json()["parts"]["encryption_keys"]["detail"]
        assert answer.json()["parts"]["database"]["status"] == "ok"


def test_a_wrong_trust_store_is_reported_and_no_url_is_blamed(
    api: Api, manager: str, set_variable: SetVariable, tmp_path: Path
) -> None:
    bundle = tmp_path / "empty.pem"
    bundle.touch()
    set_variable("DISPATCHER_CA_BUNDLE", str(bundle))
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    failed = {name: part["detail"] for name, part in answer.json()["parts"].items() if part["status"] == "failed"}
    assert list(failed) == ["transport"]
    assert f"DISPATCHER_CA_BUNDLE ({bundle}) is empty" in failed["transport"]
    assert api.get("/healthz").status_code == 200
    wanted = {"url": "https://example.com/", "event_types": ["*"]}
    refused = api.call("POST", "/v1/webhooks", wanted, token=manager)
    assert (refused.status_code, "/readyz" in refused.json()["detail"]) == (503, True)


def test_wrong_settings_are_reported_without_their_values(api: Api, set_variable: SetVariable) -> None:
    """Whoever reaches the API may ask."""
    set_variable("DISPATCHER_SMTP_HOST", "mail.internal:587")
    detail = api.get("/readyz").json()["parts"]["settings"]["detail"]
    assert detail.startswith("DISPATCHER_SMTP_HOST must be a host name")
    assert "mail.internal" not in detail


def test_missing_settings_are_reported(
    api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    restarted()
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert "DATABASE_URL is not set" in answer.json()["parts"]["settings"]["detail"]
    refused = api.post_event({"type": "message", "data": 1}, token="x.y")
    assert (refused.status_code, "/readyz" in refused.json()["detail"]) == (503, True)


def test_a_database_that_is_away_asks_to_come_back(
    api: Api, token: str, set_variable: SetVariable, closed_port: int
) -> None:
    set_variable("DATABASE_URL", f"postgresql://u:{PASSWORD}@127.0.0.1:{closed_port}/events")
    answer = api.post_event({"type": "message", "data": 1}, token=token)
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert PASSWORD not in answer.text


def test_a_database_that_is_silent_asks_to_come_back_and_serves_again_when_it_speaks(
    settings: Settings, token: str, manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Limits(0.4, lock=0.4)
    monkeypatch.setattr("dispatcher.producer.GROUPS", short)
    with relayed(settings) as (relay, through):
        served = Installation(through, limits=short)
        with running_app(create_app(served)) as origin:
            api = Api(origin)

            def statuses() -> list[int]:
                answers = [
                    api.post_event({"type": "message", "data": 1}, token=token),
                    api.call("GET", "/v1/webhooks", token=manager),
                ]
                assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 503)
                return [answer.status_code for answer in answers]

            assert statuses() == [202, 200]
            relay.be_silent()
            assert statuses() == [503, 503]
            relay.restore()
            assert statuses() == [202, 200]


def test_with_the_broker_away_events_are_taken_all_the_same(
    api: Api, token: str, database: Engine, set_variable: SetVariable, closed_port: int
) -> None:
    make_webhook(database, read_settings(), url="https://example.com/")
    set_variable("BROKER_URL", f"redis://:{PASSWORD}@127.0.0.1:{closed_port}/0")
    started = time.monotonic()
    answer = api.post_event({"type": "message", "data": 1}, token=token)
    assert (answer.status_code, answer.json()["deliveries"]) == (202, 1)
    assert time.monotonic() - started < 5
    assert len(rows(database, "SELECT id FROM dispatcher.deliveries WHERE state = 'ready'")) == 1


def test_a_defect_shows_the_client_nothing_but_the_request_id_of_its_log_line(
    api: Api, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(PASSWORD)

    monkeypatch.setattr(taking, "enqueue_checked", broken)
    with caplog.at_level(logging.ERROR):
        answer = api.post_event({"type": "message", "data": "planted-payload"}, token=token)
    assert (answer.status_code, answer.json()["title"]) == (500, "Internal Server Error")
    assert "RuntimeError" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "dispatcher.api.requests"]
    assert answer.headers["X-Request-Id"] in record.getMessage()
    assert "RuntimeError" in record.getMessage()
    for planted in (PASSWORD, "planted-payload"):
        assert planted not in answer.text + caplog.text
