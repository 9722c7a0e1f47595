"""All that processes do, behind a real PgBouncer in either mode: in transaction mode with two server sessions for all,
which keep nothing of anybody."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from dispatcher import Event, aenqueue, enqueue, enqueue_many
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.asgi import create_app
from dispatcher.db.heartbeat import DELIVERS, Heartbeat
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings, read_settings
from tests.behaviours import Answer
from tests.conftest import Servers
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change,
    deliver_all,
    deliveries,
    make_account,
    make_due,
    make_webhook,
    redeliver_more,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.installations import close_installations, installation_for
from tests.integration.api.conftest import running_app
from tests.integration.cli.conftest import run_command
from tests.integration.events.ways import opened
from tests.integration.workers.notices.conftest import mailer_for
from tests.mail_server import MailServer
from tests.poolers import MISSING, Pooler, pooling
from tests.receiver import Receiver
from workers.notices.send import send_due_alone
from workers.starting import wait_until_fit

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SHARED = 2  # server sessions
KEPT = text("""
SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('jit'),
       current_setting('idle_in_transaction_session_timeout'), current_setting('synchronous_commit'),
       current_setting('plan_cache_mode'), current_setting('enable_seqscan'), current_setting('timezone'),
       (SELECT count(*) FROM pg_prepared_statements),
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
""")


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooler(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    sessions = SHARED if request.param == "transaction" else 40
    with pooling(servers.database_url, request.param, sessions=sessions) as running:
        yield running
        close_installations()


@pytest.fixture
def pooled(environment: dict[str, str], pooler: Pooler, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a process behind the pooler, from its environment."""
    monkeypatch.setenv("DATABASE_URL", pooler.url)
    monkeypatch.setenv("DISPATCHER_DATABASE_POOLER", "true")
    return read_settings()


@pytest.fixture(autouse=True)
def sessions_keep_nothing(pooled: Settings, environment: dict[str, str], pooler: Pooler) -> Iterator[None]:
    """After each test the server sessions that all shared are as new ones are."""
    yield
    close_installations()
    if pooler.mode == "transaction":
        as_new = kept(environment["DATABASE_URL"], 1)
        assert kept(pooler.url, SHARED) == as_new * SHARED


def kept(url: str, sessions: int) -> list[tuple[Any, ...]]:
    """What so many sessions have, at once."""
    with ExitStack() as stack:
        engine = create_engine(url, poolclass=NullPool)
        return [tuple(stack.enter_context(engine.begin()).execute(KEPT).one()) for _ in range(sessions)]


def states(database: Engine) -> dict[str, int]:
    return {
        row.state: row.count
        for row in rows(database, "SELECT state, count(*) AS count FROM dispatcher.deliveries GROUP BY state")
    }


def test_events_come_in_by_every_way(database: Engine, pooled: Settings, receiver: Receiver) -> None:
    make_webhook(database, pooled, url=receiver.url())
    first = enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="once")
    again = enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="once")
    assert (again.event_id, again.repeated) == (first.event_id, True)
    receipts = list(enqueue_many(Event(type=RECEIVED, data=number, account="acme") for number in range(1_500)))
    assert {receipt.deliveries for receipt in receipts if hasattr(receipt, "deliveries")} == {1}
    asyncio.run(_enqueue_at_once(20))
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda number: enqueue(RECEIVED, number, account="acme"), range(40)))
    with Session(installation_for(pooled).engine) as session, session.begin():
        enqueue(RECEIVED, MESSAGE, account="acme", session=session)
    assert states(database) == {"ready": 1 + 1_500 + 20 + 40 + 1}


# Not asyncpg, which prepares every statement by itself: that is between it and the pooler.
@pytest.mark.parametrize("name", ["session", "connection", "psycopg2", "psycopg", "async psycopg", "django"])
def test_events_come_in_within_transactions_of_callers(database: Engine, pooled: Settings, name: str) -> None:
    make_account(database)
    with opened(name, pooled.database_url.get_secret_value()) as way:
        for _ in range(2):  # psycopg prepares what it has run five times
            way.enqueue("a")
            way.enqueue_nested("b", undone=True)
            way.commit()
    assert rows(database, "SELECT type, count(*) FROM dispatcher.events GROUP BY type") == [("a", 2)]


async def _enqueue_at_once(number: int) -> None:
    await asyncio.gather(*(aenqueue(RECEIVED, MESSAGE, account="acme") for _ in range(number)))


def test_the_api_and_the_command_line_work(database: Engine, pooled: Settings, receiver: Receiver) -> None:
    make_account(database)
    with Session(installation_for(pooled).engine) as session, session.begin():
        token = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND, Scope.READ, Scope.MANAGE]).token
    headers = {"Authorization": f"Bearer {token}"}
    with running_app(create_app()) as origin:
        ready = requests.get(f"{origin}/readyz", timeout=30)
        assert ready.status_code == 200, ready.text
        wanted = {"url": receiver.url(), "event_types": ["*"]}
        made = requests.post(f"{origin}/v1/webhooks", json=wanted, headers=headers, timeout=30)
        assert made.status_code == 201, made.text
        with ThreadPoolExecutor(8) as threads:
            events = [{"type": RECEIVED, "data": number} for number in range(40)]
            answers = threads.map(
                lambda event: requests.post(f"{origin}/v1/events", json=event, headers=headers, timeout=30), events
            )
            assert {answer.status_code for answer in answers} == {202}
        listed = requests.get(f"{origin}/v1/deliveries", headers=headers, timeout=30)
        assert len(listed.json()["items"]) == 40
    assert len(run_command("delivery", "list", "--account", "acme", "--json").document) == 40
    assert run_command("enqueue", "--account", "acme", "--type", RECEIVED, "-", stdin="1\n2\n").status == 0
    assert states(database) == {"ready": 42}


def test_two_loops_at_once_deliver_everything_once_after_retries(
    database: Engine, pooled: Settings, receiver: Receiver
) -> None:
    wait_until_fit(installation_for(pooled))
    make_webhook(database, pooled, url=receiver.url("/hook"))
    receiver.script("/hook", *[Answer(503)] * 30, Answer(200))
    list(enqueue_many(Event(type=RECEIVED, data=number, account="acme") for number in range(300)))
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            ended = [threads.submit(deliver_all, pooled) for _ in range(2)]
            assert [loop.exception(60) for loop in ended] == [None, None]
            make_due(database)
            sweep_once(pooled)
    assert states(database) == {"delivered": 300}
    assert len(receiver.at("/hook")) == 330


def test_what_runs_beside_the_loops_works(database: Engine, pooled: Settings, receiver: Receiver) -> None:
    make_webhook(database, pooled, url=receiver.url("/hook"), contact_email="ops@acme.test")
    receiver.script("/hook", *[Answer(400)] * 3, Answer(200))
    list(enqueue_many(Event(type=RECEIVED, data=number, account="acme") for number in range(3)))
    deliver_all(pooled)
    assert states(database) == {"discarded": 3}
    with MailServer() as mail_server:
        sent = send_due_alone(installation_for(pooled).engine, mailer_for(pooled, mail_server.port), pytest.fail)
        assert sent["sent"] == len(mail_server.messages) == 1
    upkeep_once(pooled)
    assert not Heartbeat().beat(installation_for(pooled).groups, DELIVERS, "test").has_lease
    with Session(installation_for(pooled).engine) as session, session.begin():
        account = find_account(session, "acme")
        order(session, account, Selection(), by=TESTER, per_second=1000)
    for _ in range(3):
        redeliver_more(pooled)
        change(
            database,
            "UPDATE dispatcher.redeliveries SET used_until = used_until - :gone",
            gone=timedelta(seconds=2),
        )
    deliver_all(pooled)
    assert states(database) == {"delivered": 3}
    assert {row.attempt_count for row in deliveries(database)} == {2}
