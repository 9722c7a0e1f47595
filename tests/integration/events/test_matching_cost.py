from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import MESSAGE, change, make_webhook

_MORE_WEBHOOKS = """
WITH copied AS (
  INSERT INTO dispatcher.webhooks OVERRIDING USER VALUE
  SELECT (jsonb_populate_record(
    one.w, jsonb_build_object('id', gen_random_uuid(), 'account_id', a.id, 'name', null))).*
  FROM (SELECT w FROM dispatcher.webhooks w LIMIT 1) one
  CROSS JOIN (SELECT id FROM dispatcher.accounts WHERE name LIKE 'other %') a CROSS JOIN generate_series(1, 10)
  RETURNING id, account_id)
INSERT INTO dispatcher.subscriptions (webhook_id, event_type, account_id)
SELECT id, 'message', account_id FROM copied
"""


def test_finding_the_webhooks_of_an_event_costs_the_same_among_ten_thousand_of_a_thousand_accounts(
    database: Engine, settings: Settings
) -> None:
    for _ in range(3):
        make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["message"])
    alone = entries_read(database)
    change(
        database,
        "INSERT INTO dispatcher.accounts (id, name)"
        " SELECT gen_random_uuid(), 'other ' || n FROM generate_series(1, 1000) n",
    )
    change(database, _MORE_WEBHOOKS)
    with database.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE dispatcher.subscriptions, dispatcher.webhooks, dispatcher.accounts")
        assert connection.exec_driver_sql("SELECT count(*) FROM dispatcher.subscriptions").scalar_one() == 10_003
    assert entries_read(database) <= alone + 3


def entries_read(database: Engine) -> int:
    """Index entries and rows that one `enqueue` reads of what matching looks at; it is taken back."""
    with Session(database) as session:
        before = _entries_read(session.connection())
        assert enqueue("message.sent", MESSAGE, account="acme", session=session).deliveries == 3
        read = _entries_read(session.connection()) - before
        session.rollback()
    return read


def _entries_read(connection: Connection) -> int:
    """By this transaction."""
    return int(
        connection.exec_driver_sql(
            "SELECT sum(pg_stat_get_xact_tuples_returned(c.oid)) FROM pg_class c"
            " WHERE c.oid IN (SELECT t FROM unnest(ARRAY['subscriptions', 'webhooks', 'accounts']) n,"
            "   LATERAL (SELECT ('dispatcher.' || n)::regclass::oid UNION ALL"
            "            SELECT indexrelid FROM pg_index WHERE indrelid = ('dispatcher.' || n)::regclass) x(t))"
        ).scalar_one()
    )
