"""Whatever one row holds, the others are delivered exactly once, and the odd one's end is on record.

Odd values come from the types of all columns of the tables that workers read, so a new column is tried, too.
"""

from collections import Counter
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.models import Base
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from dispatcher.wake import SUSPECTS
from tests.behaviours import Answer
from tests.factories import (
    TESTER,
    change,
    deliver_all,
    make_account,
    make_webhook,
    redeliver_more,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.integration.workers.notices.conftest import mailer_for
from tests.integration.workers.notices.scenario import fail, webhook_with_contact
from tests.mail_server import MailServer
from tests.many_rows import bind_copies
from tests.odd_rows import OddRow, copy, odd_values, refused
from tests.receiver import Receiver
from workers.notices.send import send_due

# Of each table the columns that say what a row is about, or that the engine itself decides by.
LEFT_OUT = {
    "webhooks": frozenset({"account_id"}),
    "events": frozenset({"account_id"}),
    "deliveries": frozenset({"event_id", "webhook_id", "state"}),
    "accounts": frozenset({"name"}),
    "circuit_breakers": frozenset[str](),
    "rates": frozenset[str](),
}
BESIDE = {
    "circuit_breakers": "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at,"
    " trial_at) VALUES (:id, 7, now(), now(), now())",
    "rates": "INSERT INTO dispatcher.rates (webhook_id, used_until) VALUES (:id, now() - interval '1 hour')",
}
GOOD = 20


def odd_rows(database: Engine, connection: Connection, like: UUID) -> list[OddRow]:
    """A webhook, event and delivery (and account, where that is odd) for each odd value of each column."""
    (event,) = connection.scalars(
        text("SELECT event_id FROM dispatcher.deliveries WHERE webhook_id = :id"), {"id": like}
    )
    delivery = connection.execute(
        text("SELECT id FROM dispatcher.deliveries WHERE webhook_id = :id"), {"id": like}
    ).scalar_one()
    account = connection.execute(
        text("SELECT account_id FROM dispatcher.webhooks WHERE id = :id"), {"id": like}
    ).scalar_one()
    made = []
    for name, leave in LEFT_OUT.items():
        states = ("ready", "waiting", "claimed") if name == "deliveries" else ("ready",)
        for column, value in odd_values(Base.metadata.tables[f"dispatcher.{name}"], leave):
            for state in states:
                with connection.begin_nested() as attempt:
                    about = {}
                    if name == "accounts":
                        about["account_id"] = copy(connection, "accounts", account, name=f"{column} {len(made)}")
                    limited = {"rate_limit": 100.0} if name == "rates" or column == "rate_limit" else {}
                    batched = {"batch_size": 10} if column == "batch_limit" else {}
                    webhook = copy(connection, "webhooks", like, **about, **limited, **batched)
                    stored = copy(connection, "events", event, **about)
                    claimed = {"claimed_by": webhook} if state == "claimed" else {}
                    sent = copy(
                        connection, "deliveries", delivery, webhook_id=webhook, event_id=stored, state=state, **claimed
                    )
                    connection.execute(
                        text(
                            "UPDATE dispatcher.deliveries SET claimed_until = due_at"
                            " WHERE id = :id AND state = 'claimed'"
                        ),
                        {"id": sent},
                    )
                    for table in BESIDE.keys() & ({name} | ({"rates"} if limited else set())):
                        connection.execute(text(BESIDE[table]), {"id": webhook})
                    rows_of = {
                        "webhooks": webhook,
                        "events": stored,
                        "deliveries": sent,
                        "accounts": about.get("account_id"),
                    }
                    key = "webhook_id" if name in BESIDE else "id"
                    statement = f"UPDATE dispatcher.{name} SET {column} = {value} WHERE {key} = :id"
                    if refused(connection, statement, id=rows_of.get(name, webhook)):
                        attempt.rollback()
                    else:
                        made.append(OddRow(name, column, f"{value} ({state})", webhook))
    return made


# Why a delivery is where it is.
_ENDS = """
SELECT d.webhook_id, d.state, CASE
  WHEN d.state IN ('delivered', 'discarded', 'cancelled') THEN d.state
  WHEN w.quarantined_at IS NOT NULL THEN 'quarantined'
  WHEN w.deleted_at IS NOT NULL OR NOT w.enabled OR w.format > 1 OR a.suspended_at IS NOT NULL
    OR a.deleted_at IS NOT NULL THEN 'held back'
  WHEN g.opened_at IS NOT NULL AND (g.trial_at > now() OR g.trial_at IS NULL) THEN 'behind an open circuit'
  WHEN d.state IN ('ready', 'waiting') AND d.due_at > now() THEN 'not due'
  WHEN d.state = 'claimed' AND d.claimed_until > now() THEN 'claimed'
  END AS because
FROM dispatcher.deliveries d JOIN dispatcher.webhooks w ON w.id = d.webhook_id
JOIN dispatcher.accounts a ON a.id = w.account_id
LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
"""


def test_no_odd_value_of_any_column_stops_the_deliveries_of_others(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/failing", *[Answer(503)] * 1_000)
    likes = [make_webhook(database, settings, account="odd", url=receiver.url(path)) for path in ("/odd", "/failing")]
    enqueue("message.sent", {"id": "1"}, account="odd")
    with database.begin() as connection:
        odd = [row for like in likes for row in odd_rows(database, connection, like.id)]
    for like in likes:
        bind_copies(database, settings, like.id)
    assert len(odd) > 250
    good = [make_webhook(database, settings, account=f"good{n}", url=receiver.url("/good")) for n in range(2)]
    for webhook in good:
        for _ in range(GOOD // 2):
            enqueue("message.sent", {"id": "1"}, account=_name(database, webhook.account_id))

    for _ in range(3):
        deliver_all(settings)
        deliver_all(settings, SUSPECTS)
        sweep_once(settings)
        upkeep_once(settings)
    deliver_all(settings)
    deliver_all(settings, SUSPECTS)

    healthy = {webhook.id for webhook in good} | {likes[0].id}
    ends = {row.webhook_id: row.because for row in rows(database, _ENDS)}
    assert Counter(ends[webhook] for webhook in healthy) == {"delivered": 3}
    assert len([one for one in receiver.received if one.target == "/good"]) == GOOD
    assert {one for one in odd if ends[one.webhook] is None} == set()
    assert Counter(ends[one.webhook] for one in odd)["delivered"] > 100


def _name(database: Engine, account: UUID) -> str:
    return str(rows(database, "SELECT name FROM dispatcher.accounts WHERE id = :id", id=account)[0].name)


def test_no_odd_value_of_any_column_stops_the_mails_of_others(database: Engine, settings: Settings) -> None:
    like = webhook_with_contact(database, settings, name="odd")
    fail(database, like)
    like_notice = rows(database, "SELECT id FROM dispatcher.notices")[0].id
    made = {}
    with database.begin() as connection:
        for column, value in odd_values(Base.metadata.tables["dispatcher.notices"], frozenset({"webhook_id"})):
            with connection.begin_nested() as attempt:
                webhook = copy(
                    connection, "webhooks", like.id, name=f"{column} {value}", contact_email=f"a{len(made)}@b.test"
                )
                notice = copy(connection, "notices", like_notice, webhook_id=webhook)
                if refused(connection, f"UPDATE dispatcher.notices SET {column} = {value} WHERE id = :id", id=notice):
                    attempt.rollback()
                else:
                    made[notice] = f"{column} = {value}"
    assert len(made) > 40
    good = webhook_with_contact(database, settings, name="good", contact_email="good@acme.test")
    fail(database, good)
    upkeep_once(settings)
    with MailServer() as mail_server:
        tally = send_due(database, mailer_for(settings, mail_server.port))
        to = [mail.recipients for mail in mail_server.messages]
    assert to.count(("good@acme.test",)) == 1
    assert (tally["sent"] > 30, tally["quarantined"] > 1) == (True, True), tally
    left = rows(
        database,
        "SELECT id FROM dispatcher.notices WHERE due_at <= now() OR claimed_until <= now() AND due_at IS NULL",
    )
    assert [made[row.id] for row in left] == []


_ABOUT_A_CONTACT = {
    "recipients": "INSERT INTO dispatcher.recipients (id, account_id, address, mailbox, confirmed_at)"
    " VALUES (:account, :account, :address, :address, CAST(:confirmed AS timestamptz))",
    "contacts": "INSERT INTO dispatcher.contacts (mailbox) VALUES (:address)",
    "mail_budgets": "INSERT INTO dispatcher.mail_budgets (owner) VALUES (:account)",
}
_KEYS = {"recipients": "account_id = :account", "contacts": "mailbox = :address", "mail_budgets": "owner = :account"}


@pytest.mark.parametrize("confirmed", [None, "2026-01-01Z"])
def test_no_odd_value_about_a_contact_stops_the_mails_of_others(
    database: Engine, settings: Settings, confirmed: str | None
) -> None:
    like = webhook_with_contact(database, settings, name="odd", account="odd")
    fail(database, like)
    like_notice = rows(database, "SELECT id FROM dispatcher.notices")[0].id
    made = {}
    with database.begin() as connection:
        for table in _ABOUT_A_CONTACT:
            for column, value in odd_values(Base.metadata.tables[f"dispatcher.{table}"], frozenset()):
                with connection.begin_nested() as attempt:
                    address = f"a{len(made)}@b.test"
                    account = copy(connection, "accounts", like.account_id, name=f"{table} {column} {value}")
                    webhook = copy(connection, "webhooks", like.id, account_id=account, contact_email=address)
                    notice = copy(connection, "notices", like_notice, webhook_id=webhook)
                    given = {"account": account, "address": address, "confirmed": confirmed}
                    for statement in _ABOUT_A_CONTACT.values():
                        connection.execute(text(statement), given)
                    odd = f"UPDATE dispatcher.{table} SET {column} = {value} WHERE {_KEYS[table]}"
                    if refused(connection, odd, account=account, address=address):
                        attempt.rollback()
                    else:
                        made[notice] = f"{table}.{column} = {value}"
    assert len(made) > 20
    fail(database, webhook_with_contact(database, settings, name="good", contact_email="good@acme.test"))
    with MailServer() as mail_server:
        tally = send_due(database, mailer_for(settings, mail_server.port))
        to = [mail.recipients for mail in mail_server.messages]
    assert to.count(("good@acme.test",)) == 1
    assert tally["sent"] > 10, tally
    left = rows(database, "SELECT id FROM dispatcher.notices WHERE due_at <= now()")
    assert [made[row.id] for row in left] == []


def test_no_odd_value_of_any_column_stops_the_bulk_redeliveries_of_others(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/good"))
    enqueue("message.sent", {"id": "1"}, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()")
    make_account(database, "odd")
    with Session(database) as session, session.begin():
        like = order(session, find_account(session, "odd"), Selection(), by=TESTER).id
    made = 0
    with database.begin() as connection:
        for column, value in odd_values(Base.metadata.tables["dispatcher.redeliveries"], frozenset({"account_id"})):
            with connection.begin_nested() as attempt:
                one = copy(connection, "redeliveries", like)
                if refused(connection, f"UPDATE dispatcher.redeliveries SET {column} = {value} WHERE id = :id", id=one):
                    attempt.rollback()
                else:
                    made += 1
    assert made > 40
    with Session(database) as session, session.begin():
        order(session, find_account(session, "acme"), Selection(), by=TESTER)
    for _ in range(3):
        redeliver_more(settings)
    assert deliver_all(settings)["delivered"] == 1
