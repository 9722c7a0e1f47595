"""Weeks long ago, with rows in them, for tests of retention."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, text

from dispatcher.db.partitions import PARTITIONED, Partition, create_partition, partitions_of, week_of
from dispatcher.db.retention.kinds import Kept, Kind
from dispatcher.db.retention.rounds import retain
from dispatcher.ids import first_id_at
from tests.factories import change, rows

WEEK = timedelta(weeks=1)
KINDS = [str(kind) for kind in Kind]
ALL = Kept({kind: 7 if kind == Kind.BODIES else 30 for kind in KINDS}, frozenset(KINDS))

# An event of each time, delivered in one attempt, and a change of the same time.
_OLD = """
WITH made AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at, attempt_count, finished_at)
  SELECT (prefix || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
         (prefix || '70009000' || lpad(to_hex(n), 12, '0'))::uuid, w.id, :state, :at, :at, 1,
         CASE WHEN :state = 'delivered' THEN CAST(:at AS timestamptz) END
  FROM (SELECT lpad(to_hex(CAST(extract(epoch FROM CAST(:at AS timestamptz)) * 1000 AS bigint)), 12, '0')) p(prefix),
       generate_series(1, :count) n, (SELECT id FROM dispatcher.webhooks ORDER BY number LIMIT 1) w
  RETURNING id, event_id, webhook_id),
event AS (
  INSERT INTO dispatcher.events (id, account_id, type, subject, occurred_at, delivery_count, data, created_at)
  SELECT event_id, w.account_id, 'a', 'thing', :at, 1, '{"a": 1}', :at FROM made JOIN dispatcher.webhooks w
    ON w.id = webhook_id),
attempt AS (
  INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id, verdict)
  SELECT id, 1, id, id, 'acknowledged' FROM made),
request AS (
  INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, answer_headers,
    answer_excerpt, answer_cut, answer_unreadable, started_at, duration)
  SELECT id, webhook_id, 'POST', 'https://example.com/', 'A: b', 200, 'C: d', 'said', false, false, :at, '0' FROM made)
INSERT INTO dispatcher.audit (id, actor_kind, actor, action, target_kind, target_id, detail)
SELECT id, 'command_line', '-', 'webhook.changed', 'webhook', webhook_id, '{}' FROM made
"""


@pytest.fixture
def now(database: Engine) -> Iterator[datetime]:
    """The time; every table has partitions for some weeks before it, which are removed afterwards."""
    moment = datetime.now(UTC)
    own: list[Partition] = []
    for table in PARTITIONED:
        for ago in (1, 4, 5, 6, 8, 9):
            with database.begin() as connection:
                week = week_of(table, first_id_at(moment - ago * WEEK))
                create_partition(connection, week)
                own.append(week)
    yield moment
    for week in own:
        change(database, f"DROP TABLE IF EXISTS dispatcher.{week.name}")


def make_old(database: Engine, at: datetime, *, state: str = "delivered", count: int = 1) -> None:
    """Events of a time, delivered (or not yet) to the first webhook, with all their records."""
    change(database, _OLD, at=at, state=state, count=count)


def retain_all(database: Engine, now: datetime, kept: Kept = ALL, seconds: float = 60) -> dict[str, int]:
    return retain(database, kept, now, monotonic() + seconds)


def names(database: Engine, table: str) -> list[str]:
    """The table's partitions, the oldest first."""
    with database.connect() as connection:
        return [week.name for week in partitions_of(connection, table)]


def name_at(table: str, at: datetime) -> str:
    return week_of(table, first_id_at(at)).name


def ids(database: Engine, table: str) -> list[UUID]:
    return [row.id for row in rows(database, f"SELECT id FROM dispatcher.{table} ORDER BY id")]


def exists(database: Engine, name: str) -> bool:
    with database.connect() as connection:
        return bool(connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": f"dispatcher.{name}"}))


@contextmanager
def plans_of(database: Engine) -> Iterator[list[str]]:
    """How PostgreSQL does what is executed."""
    found: list[str] = []

    def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        is_query = statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE"))
        if is_query and "WHERE" in statement and "EXPLAIN" not in statement and "audit" not in statement:
            cursor.execute(f"EXPLAIN {statement}", parameters)
            found.append("\n".join(row[0] for row in cursor.fetchall()))

    event.listen(database, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(database, "before_cursor_execute", explain)


def whole_reads(database: Engine, plans: list[str]) -> list[str]:
    """The plans that read a table or a partition with many rows as a whole."""
    full = rows(
        database,
        "SELECT relname AS name FROM pg_class WHERE relnamespace = 'dispatcher'::regnamespace AND relkind = 'r'"
        " AND relname ~ '^(deliveries|events|attempts|requests)' AND reltuples > 1000",
    )
    return [plan for plan in plans if any(f"Seq Scan on {row.name}" in plan for row in full)]
