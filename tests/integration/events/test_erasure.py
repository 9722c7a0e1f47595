"""Messages that are erased: they are gone everywhere, nothing is sent any more, and all counts stay true."""

from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Request
from dispatcher.deliveries.history import get_delivery
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.errors import WrongState
from dispatcher.events import erasure
from dispatcher.events.erasure import Erased, Erasure
from dispatcher.events.history import get_event, list_events
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.states import State
from dispatcher.webhooks.explanation.reading import explain_one_delivery, explain_stored_event
from schedules.timing import Timing
from tests.behaviours import Answer
from tests.factories import TESTER, change, deliver_all, deliveries, make_account, make_webhook, rows
from tests.installations import installation_for
from tests.integration.db.retained import plans_of, whole_reads
from tests.many_rows import make_many
from tests.receiver import Receiver

SECRET = "0821234567"


def erase(database: Engine, *, account: str | None = "acme", subject: str | None = None) -> Erased:
    owner = None
    if account is not None:
        with Session(database) as session:
            owner = find_account(session, account).id
    work = Erasure(database, account=owner, subject=subject)
    work.run(by=TESTER, progress=lambda: None)
    return work.done


def send(subject: str, account: str = "acme") -> UUID:
    return enqueue("message.sent", {"to": SECRET}, account=account, subject=subject).event_id


def everything(database: Engine) -> str:
    """All rows of all tables, as text."""
    tables = rows(
        database,
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relnamespace = 'dispatcher'::regnamespace"
        " AND relkind = 'r'",
    )
    found = []
    for table in tables:
        for row in rows(database, f"SELECT to_jsonb(t) AS whole FROM {table.name} t"):
            found.append(str(row.whole))
    return "\n".join(found)


def stop() -> None:
    raise KeyboardInterrupt


def has(kept: str, word: str) -> bool:
    return word in kept or word.encode().hex() in kept


def test_nothing_of_it_is_left_in_any_row(database: Engine, settings: Settings, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(200, headers=(("X-To", SECRET),), body=f"for {SECRET}".encode()))
    make_webhook(database, settings, url=receiver.url("/hook"))
    send(f"subject-{SECRET}")
    deliver_all(settings)
    # Its first request, whose token was refused.
    columns = ", ".join(column.name for column in Request.__table__.columns if column.name != "id")
    first = new_id()
    change(
        database,
        f"INSERT INTO dispatcher.requests (id, {columns}) SELECT :id, {columns} FROM dispatcher.requests",
        id=first,
    )
    change(database, "UPDATE dispatcher.requests SET replaces = :id WHERE id <> :id", id=first)
    before = everything(database)
    assert has(before, SECRET)
    assert erase(database, subject=f"subject-{SECRET}") == Erased(events=1)
    assert not has(everything(database), SECRET)


def test_open_deliveries_are_cancelled_and_those_of_others_are_sent(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for subject in ("a", "b", "a"):
        send(subject)
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'waiting'"
        " WHERE id = (SELECT min(id::text)::uuid FROM dispatcher.deliveries)",
    )
    assert erase(database, subject="a") == Erased(events=2, deliveries=2)
    assert deliver_all(settings)["delivered"] == 1
    assert len(receiver.received) == 1
    found = deliveries(database)
    assert [(row.state, row.reason, row.finished_at is not None) for row in found] == [
        ("cancelled", None, True),
        ("delivered", None, True),
        ("cancelled", None, True),
    ]


def test_it_is_shown_as_erased_and_counts_stay(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    erased, kept = send("a"), send("b")
    deliver_all(settings)
    erase(database, subject="a")
    with Session(database) as session:
        account = find_account(session, "acme")
        record = get_event(session, account, erased)
        assert (record.data, record.event.erased, record.event.subject) == (None, True, None)
        assert (record.event.type, record.event.delivery_count, len(record.page.deliveries)) == ("message.sent", 1, 1)
        assert [line.erased for line in list_events(session, account).events] == [False, True]
        assert [line.id for line in list_events(session, account, event_type="message").events] == [kept, erased]
        delivery = get_delivery(session, account, record.page.deliveries[0].id)
        assert (delivery.data, delivery.event) == (None, record.event)
        (attempt,) = delivery.attempts
        assert (attempt.status, attempt.answer_headers, attempt.answer_excerpt) == (200, None, None)


def test_it_is_explained_as_erased(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    send("a")
    erase(database, subject="a")
    (delivery,) = deliveries(database)
    installation = installation_for(settings)
    with Session(database) as session:
        account = find_account(session, "acme")
        event = get_event(session, account, delivery.event_id).event
        told = explain_stored_event(session, account, event, {State.CANCELLED: 1})
        said = explain_one_delivery(session, installation, delivery.id, exact=True)
    assert [sentence.code for sentence in told] == ["message_erased", "webhooks_took_it"]
    assert [sentence.code for sentence in said] == ["cancelled", "cannot_redeliver"]
    assert "because its message was erased" in said[0].text


def test_it_is_never_sent_again(database: Engine, settings: Settings, receiver: Receiver) -> None:
    for contract in ({}, {"envelope": "array"}, {"members": [["data", "data"]]}, {"method": "GET"}):
        make_webhook(database, settings, url=receiver.url("/hook"), contract=contract)
    send("a")
    deliver_all(settings)
    sent = len(receiver.received)
    erase(database, subject="a")
    for row in deliveries(database):
        with Session(database) as session, pytest.raises(WrongState, match="its message was erased"):
            redeliver(session, find_account(session, "acme"), row.id, Timing(1), by=TESTER)
    # Somebody opened them again at the moment of the erasure.
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready', finished_at = NULL, due_at = now()")
    deliver_all(settings)
    assert len(receiver.received) == sent
    assert {(row.state, row.reason) for row in deliveries(database)} == {("discarded", "render_failed")}


def test_a_subject_is_erased_in_all_accounts_and_an_account_alone(database: Engine, settings: Settings) -> None:
    for name in ("acme", "globex", "hooli"):
        make_account(database, name)
        send("a", name)
        send("b", name)
    assert erase(database, account=None, subject="a").events == 3
    assert erase(database, account="globex").events == 1
    left = rows(
        database,
        "SELECT a.name, e.subject FROM dispatcher.events e JOIN dispatcher.accounts a"
        " ON a.id = e.account_id WHERE e.codec = 0 ORDER BY a.name",
    )
    assert [tuple(row) for row in left] == [("acme", "b"), ("hooli", "b")]


def test_the_audit_log_says_it_once_for_each_account_without_the_subject(database: Engine, settings: Settings) -> None:
    for name in ("acme", "globex"):
        make_account(database, name)
        send(SECRET, name)
        send(SECRET, name)
    change(database, "DELETE FROM dispatcher.audit")
    for _ in range(2):
        erase(database, account=None, subject=SECRET)
    found = rows(database, "SELECT action, detail, target_id, account_id FROM dispatcher.audit")
    assert [(row.action, row.detail, row.target_id == row.account_id) for row in found] == [
        (Action.MESSAGES_ERASED, {"of": "subject"}, True)
    ] * 2
    assert len({row.account_id for row in found}) == 2


@pytest.mark.parametrize("held", ["claimed", "locked"])
def test_what_is_being_attempted_is_left_for_the_next_run(database: Engine, settings: Settings, held: str) -> None:
    make_webhook(database, settings, url="https://example.com/")
    send("a")
    if held == "claimed":
        change(database, "UPDATE dispatcher.deliveries SET state = 'claimed'")
        assert erase(database, subject="a") == Erased(left=1)
        change(database, "UPDATE dispatcher.deliveries SET state = 'waiting'")
    else:
        with database.begin() as other:
            other.execute(text("SELECT 1 FROM dispatcher.deliveries FOR UPDATE"))
            assert erase(database, subject="a") == Erased(left=1)
    assert rows(database, "SELECT codec FROM dispatcher.events")[0].codec == 0
    noted = "SELECT 1 FROM dispatcher.audit WHERE action = :action"
    assert rows(database, noted, action=Action.MESSAGES_ERASED) == []
    assert erase(database, subject="a") == Erased(events=1, deliveries=1)


def test_one_that_is_stopped_is_gone_on_with(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "PIECE", 2)
    make_webhook(database, settings, url="https://example.com/")
    for _ in range(5):
        send("a")

    with Session(database) as session:
        owner = find_account(session, "acme").id
    with pytest.raises(KeyboardInterrupt):
        Erasure(database, account=owner, subject="a").run(by=TESTER, progress=stop)
    assert sorted(row.codec for row in rows(database, "SELECT codec FROM dispatcher.events")) == [0, 0, 0, 1, 1]
    assert erase(database, subject="a") == Erased(events=3, deliveries=3)


def test_every_statement_uses_an_index(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_many(database, webhook.id)
    change(
        database,
        "INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id)"
        " SELECT id, 1, id, id FROM dispatcher.deliveries",
    )
    change(
        database,
        "INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, answer_cut,"
        " answer_unreadable, started_at, duration) SELECT id, webhook_id, 'POST', '', '', false, false, now(), '0'"
        " FROM dispatcher.deliveries",
    )
    change(
        database,
        "UPDATE dispatcher.events SET subject = 'a' WHERE id = ANY(ARRAY(SELECT id FROM dispatcher.events LIMIT 5))",
    )
    change(database, "ANALYZE")
    with plans_of(database) as plans:
        assert erase(database, account=None, subject="a").events == 5
    assert whole_reads(database, plans) == []


def test_a_piece_of_an_account_is_found_in_the_order_of_its_index(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_many(database, webhook.id)
    with Session(database) as session:
        owner = find_account(session, "acme").id
    with plans_of(database) as plans, pytest.raises(KeyboardInterrupt):
        Erasure(database, account=owner, subject=None).run(by=TESTER, progress=stop)
    (found,) = [plan for plan in plans if plan.startswith("Limit")]
    assert "Sort" not in found
    assert whole_reads(database, plans) == []
