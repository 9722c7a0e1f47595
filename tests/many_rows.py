"""Makes many rows at once, and checks how many of them a query reads: for tests of what a query costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.factories import change, rows

_MANY = """
WITH made AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, reason, due_at, give_up_at, finished_at)
  SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000')::uuid,
         (lpad(to_hex(n), 8, '0') || '-0000-7000-9000-000000000000')::uuid, :webhook,
         CASE WHEN n % 5000 = 0 THEN 'discarded' ELSE 'delivered' END,
         CASE WHEN n % 5000 = 0 THEN 'rejected' END, now(), now(), now()
  FROM generate_series(1, 20000) n RETURNING event_id)
INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)
SELECT event_id, :account, 'message.sent', now(), 1, '1' FROM made
"""


def make_many(database: Engine, webhook_id: UUID) -> None:
    """20,000 events of the only account, delivered to a webhook, except four that were discarded."""
    (account,) = rows(database, "SELECT id FROM dispatcher.accounts")
    change(database, _MANY, webhook=webhook_id, account=account.id)
    change(database, "ANALYZE dispatcher.events, dispatcher.deliveries")


_MANY_READY = """
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, state, due_at, give_up_at)
SELECT gen_random_uuid(), gen_random_uuid(), w.id, w.account_no, :state, now(),
       now() + :give_up_in
FROM generate_series(1, :count) n, dispatcher.webhooks w WHERE w.id = :webhook
"""


def make_many_open(
    database: Engine, webhook_id: UUID, count: int, *, state: str = "ready", give_up_in: timedelta = timedelta(days=2)
) -> None:
    """So many open deliveries to a webhook, of events that are gone."""
    change(database, _MANY_READY, webhook=webhook_id, count=count, state=state, give_up_in=give_up_in)
    change(database, "ANALYZE dispatcher.deliveries")


@contextmanager
def reading_less_than(most: int, session: Session, table: str, what: object = None) -> Iterator[None]:
    """Fails if the block reads `most` index entries and rows of the table, or more."""
    before = _entries_read(session, table)
    yield
    assert _entries_read(session, table) - before < most, what


def _entries_read(session: Session, table: str) -> int:
    return int(
        session.connection()
        .exec_driver_sql(
            "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0) FROM pg_class c WHERE c.oid IN ("
            f" SELECT relid FROM pg_partition_tree('dispatcher.{table}') UNION ALL"
            " SELECT indexrelid FROM pg_index JOIN"
            f" pg_partition_tree('dispatcher.{table}') t ON t.relid = indrelid)"
        )
        .scalar_one()
    )
