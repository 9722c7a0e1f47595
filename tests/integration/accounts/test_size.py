"""An account with twenty thousand webhooks: what is done with one of them costs what it costs with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.bulk_redelivery import get, order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from dispatcher.webhooks.registration import register
from dispatcher.webhooks.store import Webhooks
from tests.factories import MESSAGE, TESTER, change, make_webhook, rows
from tests.installations import installation_for
from tests.many_rows import make_many_webhooks, reading_less_than
from workers.maintenance import redeliver as doing

MANY = 20_000


def test_what_is_done_with_one_of_very_many_costs_what_it_costs_with_one(
    database: Engine, settings: Settings, subtests: pytest.Subtests
) -> None:
    """Acme and, later, globex get very many webhooks. Making them takes far longer than all that is done with them."""
    for account in ("acme", "globex"):
        make_webhook(database, settings, url="http://127.0.0.1:9/", account=account, event_types=["a"])
        make_many_webhooks(database, MANY, account)
    change(database, "ANALYZE dispatcher.webhooks, dispatcher.subscriptions")
    with subtests.test("a page of them reads a page"):
        page_of_them(database, settings)
    with subtests.test("registering one more reads no other"):
        registering_one_more(database, settings)
    make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["rare"])
    with subtests.test("an event that one of them takes reads no other"):
        event_that_one_takes(database)
    with subtests.test("a step of a bulk redelivery passes so many webhooks and goes on in the next"):
        steps_of_a_bulk_redelivery(database, settings)


@contextmanager
def session_reading_less_than(most: int, database: Engine, table: str) -> Iterator[Session]:
    """A session that is committed at the end. It fails if the block reads more."""
    with Session(database) as session, session.begin(), reading_less_than(most, session, table):
        yield session


def page_of_them(database: Engine, settings: Settings) -> None:
    with session_reading_less_than(300, database, "webhooks") as session:
        webhooks, account = Webhooks(session, installation_for(settings)), find_account(session, "acme")
        first, before = webhooks.page(account, limit=50)
        second, _ = webhooks.page(account, limit=50, before=before)
        seen = {webhook.id for webhook in (*first, *second)}
    assert len(seen) == 100


def registering_one_more(database: Engine, settings: Settings) -> None:
    engine, read = installation_for(settings).engine, list[int]()

    def note(_connection: object, cursor: Any, *_: object) -> None:
        read.append(cursor.rowcount)

    with session_reading_less_than(100, database, "webhooks") as session:
        Webhooks(session, installation_for(settings)).refuse_taken(find_account(session, "acme").id, "new")
    event.listen(engine, "after_cursor_execute", note)
    try:
        register(
            installation_for(settings), "acme", by=TESTER, url="http://127.0.0.1:9/", event_types=["b"], name="new"
        )
    finally:
        event.remove(engine, "after_cursor_execute", note)
    assert max(read) <= 1
    assert len(read) < 10


def event_that_one_takes(database: Engine) -> None:
    with session_reading_less_than(100, database, "subscriptions") as session:
        assert enqueue("rare", MESSAGE, account="acme", session=session).deliveries == 1


def steps_of_a_bulk_redelivery(database: Engine, settings: Settings) -> None:
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()")
    with Session(database) as session, session.begin():
        identifier = order(session, find_account(session, "acme"), Selection(), by=TESTER).id
    timing = installation_for(settings).timing
    with Session(database) as session, session.begin():
        doing._count(session, identifier)
    reached = []
    for _ in range(2):
        with session_reading_less_than(1_000, database, "webhooks") as session:
            assert doing._step(session, identifier, timing) == 0
        with Session(database) as session:
            ordered = get(session, find_account(session, "acme"), identifier)
            assert (ordered.matched, ordered.redelivered, ordered.finished_at) == (1, 0, None)
            reached.append(ordered.webhook_reached)
    account = rows(database, "SELECT id FROM dispatcher.accounts WHERE name = 'acme'")[0].id
    passed = "SELECT count(*) AS n FROM dispatcher.webhooks WHERE account_id = :account AND id < :reached"
    assert [rows(database, passed, account=account, reached=to)[0].n for to in reached] == [100, 200]


def test_an_event_of_one_of_many_apps_reads_the_webhooks_of_no_other(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["a"])
    make_many_webhooks(database, 2_000)
    change(database, "UPDATE dispatcher.subscriptions SET app = webhook_id::text")
    make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["a"], app="mine")
    make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["*"])
    # Of others who have one each. So a plan expects few, and may read them all to look at their apps.
    change(
        database,
        "INSERT INTO dispatcher.subscriptions (webhook_id, event_type, account_id)"
        " SELECT webhook_id, 'c', gen_random_uuid() FROM dispatcher.subscriptions WHERE event_type = 'b'",
    )
    with database.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE dispatcher.subscriptions")
    for app, taking in (("mine", 2), (None, 1)):
        with session_reading_less_than(500, database, "subscriptions") as session:
            assert enqueue("a", MESSAGE, account="acme", app=app, session=session).deliveries == taking
