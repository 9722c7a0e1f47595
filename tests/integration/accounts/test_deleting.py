"""A deleted account: at once nothing goes in or out, then everything it had is removed in small steps, itself last."""

from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from dispatcher import UnknownAccount, enqueue
from dispatcher.accounts import lifecycle
from dispatcher.accounts.accounts import create_account, find_account
from dispatcher.accounts.api_keys import Scope, authenticate, create_key
from dispatcher.accounts.lifecycle import contents_of, delete, resume, suspend
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.errors import NameTaken, WrongState
from dispatcher.settings import Settings
from dispatcher.webhooks.registration import register
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change,
    deliver_all,
    deliveries,
    make_account,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.installations import installation_for
from tests.integration.workers.notices.scenario import fail, webhook_with_contact
from tests.many_rows import make_many_open, make_many_webhooks
from tests.receiver import Receiver
from workers.maintenance.account_deletion import WEBHOOKS, remove_accounts

TABLES = (
    *("accounts", "api_keys", "webhooks", "subscriptions", "idempotency_keys", "deliveries", "circuit_breakers"),
    *("rates", "tokens", "notices", "redeliveries"),
)
URL = "http://127.0.0.1:9/"


def delete_acme(database: Engine) -> None:
    with Session(database) as session, session.begin():
        delete(session, find_account(session, "acme", deleted=True), by=TESTER)


def remove(settings: Settings, seconds: float = 60) -> dict[str, int]:
    return remove_accounts(installation_for(settings).engine, monotonic() + seconds)


def rest(database: Engine) -> None:
    """Makes it long ago that webhooks were deleted."""
    change(database, "UPDATE dispatcher.webhooks SET deleted_at = deleted_at - interval '11 minutes'")


def left(database: Engine) -> dict[str, int]:
    counts = {table: rows(database, f"SELECT count(*) AS n FROM dispatcher.{table}")[0].n for table in TABLES}
    return {table: count for table, count in counts.items() if count}


def fill(database: Engine, settings: Settings, account: str) -> None:
    """Something in each table."""
    contract = {"rate_limit": 10}
    webhook = webhook_with_contact(database, settings, account=account, name=account, contract=contract)
    fail(database, webhook)
    enqueue(RECEIVED, MESSAGE, account=account, idempotency_key="one")
    for statement in (
        "circuit_breakers (webhook_id, failures, failing_since) VALUES (:id, 3, now())",
        "tokens (webhook_id, credentials, fetch_id, next_fetch_at) VALUES (:id, '', gen_random_uuid(), now())",
    ):
        change(database, f"INSERT INTO dispatcher.{statement}", id=webhook.id)
    with Session(database) as session, session.begin():
        create_key(session, by=TESTER, account=account, scopes=[Scope.SEND])
        order(session, find_account(session, account), Selection(webhook=webhook.id), by=TESTER)


def test_at_once_it_is_unknown_its_keys_end_and_nothing_is_sent(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url())
    enqueue(RECEIVED, MESSAGE, account="acme")
    with Session(database) as session, session.begin():
        token = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND]).token
    delete_acme(database)
    with pytest.raises(UnknownAccount):
        enqueue(RECEIVED, MESSAGE, account="acme")
    with pytest.raises(UnknownAccount):
        register(installation_for(settings), "acme", by=TESTER, url=URL, event_types=["*"])
    with pytest.raises(UnknownAccount):
        register(
            installation_for(settings),
            rows(database, "SELECT id FROM dispatcher.accounts")[0].id,
            by=TESTER,
            url=URL,
            event_types=["*"],
        )
    with Session(database) as session:
        with pytest.raises(UnknownAccount):
            create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND])
        assert authenticate(session, token) is None
        with pytest.raises(NameTaken):
            create_account(session, "acme", by=TESTER)
    deliver_all(settings)
    assert receiver.received == []


def test_it_cannot_be_resumed_and_again_nothing_changes(database: Engine) -> None:
    make_account(database)
    with Session(database) as session, session.begin():
        suspend(session, find_account(session, "acme"), by=TESTER)
    change(database, "UPDATE dispatcher.accounts SET suspended_at = suspended_at - interval '1 day'")
    delete_acme(database)
    before = rows(database, "SELECT suspended_at, deleted_at FROM dispatcher.accounts")
    delete_acme(database)
    assert rows(database, "SELECT suspended_at, deleted_at FROM dispatcher.accounts") == before
    assert before[0].deleted_at > before[0].suspended_at
    with Session(database) as session, pytest.raises(WrongState, match="is being deleted"):
        resume(session, find_account(session, "acme", deleted=True), by=TESTER)
    noted = rows(database, "SELECT action FROM dispatcher.audit ORDER BY id")
    assert [row.action for row in noted] == ["account.created", "account.suspended", "account.deleted"]


def test_all_it_had_goes_and_nothing_of_another(database: Engine, settings: Settings) -> None:
    fill(database, settings, "globex")
    alone = left(database)
    assert alone.keys() == set(TABLES)
    fill(database, settings, "acme")
    delete_acme(database)
    assert remove(settings) == {"accounts_removed": 0, "accounts_left": 1}
    (wiped,) = rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NOT NULL")
    assert (wiped.url_ciphertext, wiped.secrets_ciphertext, wiped.url_digest, wiped.destination) == (None,) * 4
    rest(database)
    done = upkeep_once(settings)
    assert (done["accounts_removed"], done["accounts_left"]) == (1, 0)
    assert left(database) == alone
    assert rows(database, "SELECT name FROM dispatcher.webhooks") == [("globex",)]
    make_account(database)  # the name is free again


def test_its_open_deliveries_end_within_the_first_run(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    enqueue(RECEIVED, MESSAGE, account="acme")
    delete_acme(database)
    remove(settings)
    upkeep_once(settings)
    assert [(row.state, row.reason) for row in deliveries(database)] == [("discarded", "webhook_deleted")]


def test_a_webhook_stays_while_a_worker_may_still_record_for_it(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    make_webhook(database, settings, url=URL)
    enqueue(RECEIVED, MESSAGE, account="acme")
    claimed = deliveries(database)[0]
    change(database, "UPDATE dispatcher.deliveries SET state = 'claimed' WHERE id = :id", id=claimed.id)
    delete_acme(database)
    remove(settings)
    assert left(database)["webhooks"] == 2  # just deleted
    rest(database)
    assert remove(settings) == {"accounts_removed": 0, "accounts_left": 1}
    assert [row.id for row in rows(database, "SELECT id FROM dispatcher.webhooks")] == [claimed.webhook_id]
    change(database, "UPDATE dispatcher.deliveries SET state = 'delivered'")
    assert remove(settings) == {"accounts_removed": 1, "accounts_left": 0}
    assert left(database) == {}


def test_tens_of_thousands_of_rows_go_in_small_transactions(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL)
    make_many_open(database, webhook.id, 20_000, state="waiting")
    make_many_webhooks(database, 2_500)
    change(
        database,
        "INSERT INTO dispatcher.idempotency_keys (account_id, key, event_id, digest, expires_at)"
        " SELECT a.id, n::text, gen_random_uuid(), '', now() + interval '1 day'"
        " FROM dispatcher.accounts a, generate_series(1, 2500) n",
    )
    delete_acme(database)
    with Session(database) as session:
        assert contents_of(session, find_account(session, "acme", deleted=True)) == (2_501, 20_000)
    engine, changed = installation_for(settings).engine, list[tuple[str, int]]()

    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        changed.append((statement, cursor.rowcount))

    event.listen(engine, "after_cursor_execute", note)
    try:
        remove(settings)
        rest(database)
        assert remove(settings) == {"accounts_removed": 1, "accounts_left": 0}
    finally:
        event.remove(engine, "after_cursor_execute", note)
    assert max(count for _, count in changed) == 1_000
    assert max(count for statement, count in changed if "DELETE FROM dispatcher.webhooks" in statement) == WEBHOOKS
    assert left(database) == {}


def test_a_run_that_ends_anywhere_is_continued_by_the_next(database: Engine, settings: Settings) -> None:
    fill(database, settings, "acme")
    delete_acme(database)
    engine = installation_for(settings).engine
    finished, allowed = False, 0
    while not finished:  # dies at the first statement, then at the second, ...
        allowed += 1
        assert allowed < 100
        count = 0

        def die(*_: object, most: int = allowed) -> None:
            nonlocal count
            count += 1
            if count > most:
                raise KeyboardInterrupt

        event.listen(engine, "before_cursor_execute", die)
        try:
            finished = remove(settings)["accounts_removed"] == 1
        except KeyboardInterrupt:
            pass
        finally:
            event.remove(engine, "before_cursor_execute", die)
        rest(database)
    assert allowed > len(TABLES)
    assert left(database) == {}


def test_a_run_without_time_changes_nothing(database: Engine, settings: Settings) -> None:
    fill(database, settings, "acme")
    delete_acme(database)
    before = left(database)
    assert remove(settings, seconds=0) == {"accounts_removed": 0, "accounts_left": 1}
    assert left(database) == before


def test_what_there_is_is_counted_up_to_a_limit(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "COUNTED", 1_000)
    webhook = make_webhook(database, settings, url=URL)
    make_webhook(database, settings, url=URL)
    make_webhook(database, settings, url=URL, account="globex")
    make_many_open(database, webhook.id, 1_001)
    with Session(database) as session:
        assert contents_of(session, find_account(session, "acme")) == (2, 1_000)
