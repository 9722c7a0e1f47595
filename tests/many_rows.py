"""Makes many rows at once, and checks how many of them a query reads: for tests of what a query costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher.db.models import Webhook
from dispatcher.encryption.stored import Renewed, ciphertext_columns, place_of, replace
from dispatcher.settings import Settings
from tests.factories import change, rows
from tests.installations import installation_for

_MANY = """
WITH made AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, reason, due_at, give_up_at, finished_at)
  SELECT (made_at || '70008000000000000000')::uuid, (made_at || '70009000000000000000')::uuid, :webhook,
         CASE WHEN n % 5000 = 0 THEN 'discarded' ELSE 'delivered' END,
         CASE WHEN n % 5000 = 0 THEN 'rejected' END, now(), now(), now()
  -- In the first seconds of this week.
  FROM generate_series(1, 20000) n CROSS JOIN LATERAL (
    SELECT lpad(to_hex(CAST(extract(epoch FROM date_trunc('week', now())) * 1000 AS bigint) + n), 12, '0')) m(made_at)
  RETURNING event_id)
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


def make_many_webhooks(database: Engine, count: int, account: str = "acme") -> None:
    """So many copies of an account's only webhook, without names, made in the same millisecond. From now on there may
    be any number of them."""
    change(database, """UPDATE dispatcher.accounts SET limits = '{"webhooks": null}'""")
    columns = "account_id, account_no, url_masked, event_types, contract, retry_span, enabled"
    change(
        database,
        f"WITH made AS (INSERT INTO dispatcher.webhooks (id, {columns}) SELECT"
        f" (left(id::text, 13) || substr(gen_random_uuid()::text, 14))::uuid, {columns}"
        " FROM dispatcher.webhooks, generate_series(1, :count)"
        " WHERE account_id = (SELECT a.id FROM dispatcher.accounts a WHERE a.name = :account) RETURNING id, account_id)"
        " INSERT INTO dispatcher.subscriptions (webhook_id, account_id, event_type)"
        " SELECT id, account_id, t FROM made, unnest(ARRAY['a', 'b']) t",
        count=count,
        account=account,
    )


def copy_webhook(database: Engine, settings: Settings, count: int) -> None:
    """So many copies of the only webhook, which can be delivered to as it can."""
    (only,) = rows(database, "SELECT id FROM dispatcher.webhooks")
    own = {"id", "number"}
    columns = ", ".join(column.name for column in Webhook.__table__.columns if column.name not in own)
    change(
        database,
        f"WITH made AS (INSERT INTO dispatcher.webhooks (id, {columns}) SELECT gen_random_uuid(), {columns}"
        " FROM dispatcher.webhooks, generate_series(1, :count) RETURNING id, account_id, event_types)"
        " INSERT INTO dispatcher.subscriptions (webhook_id, account_id, event_type)"
        " SELECT id, account_id, unnest(event_types) FROM made",
        count=count,
    )
    bind_copies(database, settings, only.id)


def bind_copies(database: Engine, settings: Settings, original: UUID) -> None:
    """Gives each copy of a webhook secrets of its own row: those of another open nothing."""
    vault = installation_for(settings).vault
    for column in ciphertext_columns():
        if column.table.name != Webhook.__tablename__:
            continue
        found = {
            row.id: bytes(row.ciphertext)
            for row in rows(database, f"SELECT id, {column.name} AS ciphertext FROM dispatcher.webhooks")
            if row.ciphertext is not None
        }
        if original in found:
            clear = vault.decrypt(found[original], place_of(column, original))
            copies = [
                Renewed(copy, old, vault.encrypt(clear, place_of(column, copy)))
                for copy, old in found.items()
                if copy != original and old == found[original]
            ]
            if copies:
                with database.begin() as connection:
                    replace(connection, column, copies)


@contextmanager
def reading_less_than(most: int, session: Session, table: str, what: object = None) -> Iterator[None]:
    """Fails if the block reads `most` index entries and rows of the table, or more."""
    reading = EntriesRead(session, table)
    yield
    assert reading.more() < most, what


class EntriesRead:
    """Counts the index entries and rows of a table that a session reads in one transaction."""

    def __init__(self, session: Session, table: str) -> None:
        self._session, self._table, self._so_far = session, table, 0
        self.more()

    def more(self) -> int:
        """How many they are since the last call."""
        asked = {"table": f"dispatcher.{self._table}"}
        before, self._so_far = self._so_far, self._session.connection().execute(_ENTRIES_READ, asked).scalar_one()
        return int(self._so_far - before)


# A table without partitions is not in its own partition tree.
_ENTRIES_READ = text("""
WITH tables AS (
  SELECT CAST(:table AS regclass) AS relid UNION SELECT relid FROM pg_partition_tree(CAST(:table AS regclass)))
SELECT sum(pg_stat_get_xact_tuples_returned(c.oid)) FROM pg_class c WHERE c.oid IN (
  SELECT relid FROM tables UNION ALL SELECT indexrelid FROM pg_index JOIN tables ON relid = indrelid)
""")
