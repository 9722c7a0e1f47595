"""Each migration since 0.2.0 runs beside a reader of all tables and beside load, and keeps nobody waiting."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from dispatcher.db import migrate
from dispatcher.db.migrate import upgrade
from dispatcher.db.version import MIGRATIONS
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.factories import change, rows
from tests.integration.db.databases import database_at
from tests.integration.db.test_default_partitions import make_defaults
from tests.integration.db.test_partitions import read_everything

REVISIONS = sorted(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
FIRST = REVISIONS.index("0009")  # the tables of 0.2.0
LONGEST_WAIT = "1500ms"  # for a lock: a second, and some for a slow machine

_ROWS = """
INSERT INTO dispatcher.accounts (id, name) VALUES (:id, 'acme');
INSERT INTO dispatcher.webhooks (id, account_id, url_masked, url_digest, event_types, contract, retry_span, enabled)
VALUES (:id, :id, '-', 'digest', '{a}', '{}', '2 days', true);
INSERT INTO dispatcher.subscriptions (webhook_id, event_type, account_id) VALUES (:id, 'a', :id);
INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id)
VALUES (:id, :id, 'k', 'f', now(), :id);
INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since) VALUES (:id, 1, now());
INSERT INTO dispatcher.redeliveries (id, account_id, states, per_second, matched) VALUES (:id, :id, '{}', 1, 1);
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)
SELECT gen_random_uuid(), gen_random_uuid(), :id, 'ready', now(), now() + interval '1 day' FROM generate_series(1, 5000)
"""
# What the statements of 0.2.0 lock, and those since. Each is a transaction.
_STORE = """
WITH matched AS (
  SELECT w.id AS webhook_id, w.account_id FROM dispatcher.subscriptions s
  JOIN dispatcher.webhooks w ON w.id = s.webhook_id JOIN dispatcher.accounts a ON a.id = w.account_id),
keyed AS (
  INSERT INTO dispatcher.idempotency_keys (account_id, key, event_id, digest, expires_at)
  SELECT account_id, :id, CAST(:id AS uuid), '', now() FROM matched),
stored AS (
  INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)
  SELECT CAST(:id AS uuid), account_id, 'a', now(), 1, '' FROM matched)
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)
SELECT CAST(:id AS uuid), CAST(:id AS uuid), webhook_id, 'ready', now(), now() + interval '1 day' FROM matched
"""
_CLAIM = """
WITH found AS (
  SELECT d.id FROM dispatcher.deliveries d
  JOIN dispatcher.webhooks w ON w.id = d.webhook_id JOIN dispatcher.accounts a ON a.id = w.account_id
  LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id LEFT JOIN dispatcher.events e ON e.id = d.event_id
  LEFT JOIN dispatcher.tokens t ON t.webhook_id = w.id
  WHERE d.state = 'ready' AND d.due_at <= now() LIMIT 3 FOR UPDATE OF d SKIP LOCKED)
UPDATE dispatcher.deliveries SET state = 'claimed', claimed_by = CAST(:id AS uuid), claimed_until = now()
WHERE id = ANY(ARRAY(SELECT id FROM found))
"""
_RECORD = """
WITH ended AS (
  UPDATE dispatcher.deliveries SET state = 'delivered' WHERE claimed_by = CAST(:id AS uuid) AND state = 'claimed'
  RETURNING id, webhook_id),
attempted AS (
  INSERT INTO dispatcher.attempts (delivery_id, number, id) SELECT id, 1, CAST(:id AS uuid) FROM ended),
requested AS (
  INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, answer_cut, answer_unreadable,
    started_at, duration)
  SELECT CAST(:id AS uuid), webhook_id, 'POST', '', '', false, false, now(), interval '0' FROM ended LIMIT 1),
noticed AS (UPDATE dispatcher.notices SET suppressed_count = suppressed_count + 1),
opened AS (UPDATE dispatcher.circuit_breakers SET failures = failures + 1)
INSERT INTO dispatcher.audit (id, actor_kind, actor, action, target_kind, target_id, detail)
SELECT CAST(:id AS uuid), '-', '-', '-', '-', id, '{}' FROM ended LIMIT 1
"""
_CHANGE = """
WITH used AS (
  INSERT INTO dispatcher.api_keys (id, secret_sha256, scopes) VALUES (CAST(:id AS uuid), '', '{}')),
counted AS (UPDATE dispatcher.redeliveries SET redelivered = redelivered + 1),
mailed AS (INSERT INTO dispatcher.contacts (mailbox) VALUES (:id)),
paced AS (
  INSERT INTO dispatcher.rates (webhook_id) SELECT id FROM dispatcher.webhooks
  ON CONFLICT (webhook_id) DO UPDATE SET used_until = now())
UPDATE dispatcher.webhooks SET version = version + 1
"""
WORK = {"store": (_STORE,), "deliver": (_CLAIM, _RECORD), "change": (_CHANGE,)}


class Load:
    """Works on a database in several threads, until it ends. What failed, and why."""

    def __init__(self) -> None:
        self.rounds = dict.fromkeys(WORK, 0)
        self.failed: list[str] = []
        self.ends = threading.Event()

    def work(self, connection: Connection, name: str) -> None:
        while not self.ends.is_set():
            given = {"id": str(new_id())}
            for statement in WORK[name]:
                try:
                    connection.execute(text(statement), given)
                except DBAPIError as error:
                    self.failed.append(f"{name}: {error.orig}")
            self.rounds[name] += 1
            self.ends.wait(0.005)  # a lock is waited for a hundred times as long

    def go_on(self) -> None:
        """Waits until each thread has done something more."""
        before, until = dict(self.rounds), monotonic() + 30
        while any(self.rounds[name] < before[name] + 5 for name in WORK):
            assert monotonic() < until, self.failed
            sleep(0.005)


@contextmanager
def load_on(database: Engine) -> Iterator[Load]:
    load = Load()
    with ThreadPoolExecutor(len(WORK)) as pool:
        connections = [database.connect().execution_options(isolation_level="AUTOCOMMIT") for _ in WORK]
        for connection in connections:
            connection.execute(text(f"SET lock_timeout = '{LONGEST_WAIT}'"))
        working = [pool.submit(load.work, *each) for each in zip(connections, WORK, strict=True)]
        try:
            load.go_on()
            yield load
        finally:
            load.ends.set()
            for each in working:
                each.result(30)
            for connection in connections:
                connection.close()


@pytest.mark.parametrize(("before", "revision"), list(zip(REVISIONS[FIRST:], REVISIONS[FIRST + 1 :], strict=False)))
def test_it_runs_beside_a_reader_and_load_and_nobody_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, before: str, revision: str
) -> None:
    monkeypatch.setattr(migrate, "PAUSE", 0.05)
    with database_at(before, settings.database_url.get_secret_value(), f"from_{before}") as (database, url):
        make_defaults(database)
        change(database, _ROWS, id=new_id())
        with load_on(database) as load, ThreadPoolExecutor(1) as pool:
            with database.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
                read_everything(reader)
                rows_seen = reader.scalar(text("SELECT count(*) FROM dispatcher.deliveries"))
                upgrading = pool.submit(upgrade, url, revision=revision)
                for _ in range(4):  # some tries of the upgrade
                    load.go_on()
                    sleep(0.1)
                assert reader.scalar(text("SELECT count(*) FROM dispatcher.deliveries")) == rows_seen
            load.go_on()
            upgrading.result(60)
            load.go_on()
        assert load.failed == []
        assert [row.version_num for row in rows(database, "SELECT version_num FROM dispatcher.migrations")] == [
            revision
        ]
