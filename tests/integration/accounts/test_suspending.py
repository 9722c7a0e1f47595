"""A suspended account: nothing goes in, nothing goes out, nothing is lost, and no other account notices."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from dispatcher import AccountSuspended, Event, Refused, enqueue, enqueue_many
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, authenticate, create_key
from dispatcher.accounts.lifecycle import resume, suspend
from dispatcher.db.models import Account
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from dispatcher.webhooks.sample_event import call_webhook
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
from tests.installations import installation_for
from tests.receiver import Receiver
from workers.claims.claims import Claimer
from workers.claims.concurrency import Rooms


def switch(database: Engine, change: object, name: str = "acme") -> None:
    with Session(database) as session, session.begin():
        change(session, find_account(session, name), by=TESTER)  # type: ignore[operator]


def states(database: Engine) -> list[str]:
    return [row.state for row in deliveries(database)]


def test_no_event_is_taken_and_nothing_is_written(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    switch(database, suspend)
    with pytest.raises(AccountSuspended, match="the account 'acme' is suspended"):
        enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="one")
    with Session(database) as session, session.begin(), pytest.raises(AccountSuspended):
        enqueue(RECEIVED, MESSAGE, account="acme", session=session)
    for table in ("events", "deliveries", "idempotency_keys"):
        assert rows(database, f"SELECT 1 FROM dispatcher.{table}") == []


def test_of_many_events_only_its_own_are_refused(database: Engine, settings: Settings) -> None:
    for name in ("acme", "globex"):
        make_account(database, name)
    switch(database, suspend)
    given = [Event(type=RECEIVED, data=MESSAGE, account=name) for name in ("acme", "globex", "acme")]
    receipts = list(enqueue_many(given))
    errors = [type(receipt.error) if isinstance(receipt, Refused) else None for receipt in receipts]
    assert errors == [AccountSuspended, None, AccountSuspended]


def test_a_key_used_before_is_no_way_around_it(database: Engine, settings: Settings) -> None:
    make_account(database)
    enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="one")
    switch(database, suspend)
    with pytest.raises(AccountSuspended):
        enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="one")
    switch(database, resume)
    assert enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="one").repeated


def test_no_test_event_is_sent(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    switch(database, suspend)
    with pytest.raises(AccountSuspended):
        call_webhook(installation_for(settings), webhook.account_id, webhook.id, by=TESTER)
    assert deliveries(database) == []


def test_its_keys_are_refused_by_the_reason_but_wrong_ones_learn_nothing(database: Engine) -> None:
    make_account(database)
    with Session(database) as session, session.begin():
        token = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND]).token
    switch(database, suspend)
    with Session(database) as session:
        assert authenticate(session, token.partition(".")[0] + ".wrong") is None
        with pytest.raises(AccountSuspended):
            authenticate(session, token)
    switch(database, resume)
    with Session(database) as session:
        assert authenticate(session, token) is not None


@pytest.mark.parametrize(("state", "number"), [("ready", "account_no"), ("ready", "0"), ("waiting", "account_no")])
def test_what_is_open_waits_and_is_sent_once_the_account_is_resumed(
    database: Engine, settings: Settings, receiver: Receiver, state: str, number: str
) -> None:
    """Also what an older version stored, without the number of its account."""
    make_webhook(database, settings, url=receiver.url("/suspended"))
    make_webhook(database, settings, url=receiver.url("/other"), account="globex")
    for name in ("acme", "globex"):
        enqueue(RECEIVED, MESSAGE, account=name)
    change(
        database,
        f"UPDATE dispatcher.deliveries SET state = '{state}', give_up_at = now() + interval '1 second',"
        f" account_no = {number}",
    )
    switch(database, suspend)
    before = deliveries(database)[0]
    make_due(database)
    sweep_once(settings)
    deliver_all(settings)
    assert [request.target for request in receiver.received] == ["/other"]
    assert deliveries(database)[0].give_up_at == before.give_up_at
    switch(database, resume)
    deliver_all(settings)
    assert [request.target for request in receiver.received] == ["/other", "/suspended"]
    assert states(database) == ["delivered", "delivered"]


@pytest.mark.parametrize("passing", ["bypasses_circuit", "trial"])
def test_nothing_of_it_passes_an_open_circuit(database: Engine, settings: Settings, passing: str) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trials, trial_at)"
        f" VALUES (:id, 5, now(), now(), 1, now() {'+' if passing != 'trial' else '-'} interval '1 hour')",
        id=webhook.id,
    )
    change(database, "UPDATE dispatcher.deliveries SET bypasses_circuit = :asked", asked=passing != "trial")
    switch(database, suspend)
    with database.begin() as connection:
        assert Claimer().claim_passing(connection, Rooms(), 10) == []
    switch(database, resume)
    with database.begin() as connection:
        assert len(Claimer().claim_passing(connection, Rooms(), 10)) == 1


@pytest.mark.parametrize("held", ["disabled", "open circuit"])
def test_no_time_runs_out_while_it_cannot_be_used(database: Engine, settings: Settings, held: str) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/", enabled=held != "disabled")
    enqueue(RECEIVED, MESSAGE, account="acme")
    if held != "disabled":
        change(
            database,
            "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trials, trial_at)"
            " VALUES (:id, 5, now(), now(), 1, now())",
            id=webhook.id,
        )
    change(database, "UPDATE dispatcher.deliveries SET give_up_at = now() - interval '1 second'")
    switch(database, suspend)
    assert upkeep_once(settings)["ended"] == 0
    switch(database, resume)
    assert upkeep_once(settings)["ended"] == 1


def test_its_bulk_redeliveries_pause(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()")
    with Session(database) as session, session.begin():
        order(session, find_account(session, "acme"), Selection(), by=TESTER)
    switch(database, suspend)
    assert redeliver_more(settings) == {"redelivered": 0, "open": 0}
    switch(database, resume)
    assert redeliver_more(settings) == {"redelivered": 1, "open": 1}


def test_again_it_changes_nothing(database: Engine) -> None:
    make_account(database)
    switch(database, resume)
    switch(database, suspend)
    change(database, "UPDATE dispatcher.accounts SET suspended_at = suspended_at - interval '1 day'")
    switch(database, suspend)
    with Session(database) as session:
        since, now = session.execute(select(Account.suspended_at, func.now())).one()
    assert now - since > timedelta(hours=23)
    noted = rows(database, "SELECT action FROM dispatcher.audit ORDER BY id")
    assert [row.action for row in noted] == ["account.created", "account.suspended"]
