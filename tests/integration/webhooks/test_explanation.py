"""What explanations read: a fixed number of statements, each bounded, and nothing that a row can hold fails them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.db.models import Base, Webhook
from dispatcher.errors import NotFound
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.webhooks.explanation import reading
from dispatcher.webhooks.explanation.reading import Kind, explain_deliveries, explain_health, find
from dispatcher.webhooks.explanation.words import Sentence
from dispatcher.webhooks.health import health_of
from dispatcher.webhooks.store import Webhooks
from tests.behaviours import Answer
from tests.factories import change, deliver_all, deliveries, make_due, make_webhook, rows, sweep_once
from tests.installations import installation_for
from tests.integration.workers.tokens.token_server import TokenServer
from tests.many_rows import make_many_open, reading_less_than
from tests.odd_rows import odd_values, refused
from tests.receiver import Receiver

URL = "https://hooks.example.com/"
LIVES = (
    "INSERT INTO dispatcher.processes VALUES (gen_random_uuid(), :kind, 'h', 1, 'v', '1', '1', now(),"
    " now() - :age * interval '1 second', :doing)"
)


@contextmanager
def statements(database: Engine, most: int) -> Iterator[None]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(database, "before_cursor_execute", note)
    assert len(seen) <= most, seen


def explained(database: Engine, settings: Settings, *wanted: UUID) -> list[list[Sentence]]:
    with Session(database) as session:
        found = explain_deliveries(session, installation_for(settings), wanted, exact=True)
    return [found[each] for each in wanted]


def codes(database: Engine, settings: Settings, delivery: UUID) -> list[str]:
    return [sentence.code for sentence in explained(database, settings, delivery)[0]]


def in_turn(said: list[Sentence]) -> Sentence:
    (found,) = [sentence for sentence in said if sentence.code == "in_turn"]
    return found


def test_many_deliveries_cost_two_statements_and_closed_ones_one(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    for _ in range(20):
        enqueue("message.sent", 1, account="acme")
    wanted = [delivery.id for delivery in deliveries(database)]
    with statements(database, 2):
        ready = explained(database, settings, *wanted)
    assert {in_turn(said).parameters["before"] for said in ready} == set(range(20))
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected'")
    with statements(database, 1):
        assert {said[0].code for said in explained(database, settings, *wanted)} == {"discarded_rejected"}
    change(database, "UPDATE dispatcher.deliveries SET state = 'cancelled', reason = NULL")
    with statements(database, 2):
        assert {said[0].code for said in explained(database, settings, *wanted)} == {"cancelled"}


def test_those_due_at_the_same_moment_can_come_before_it(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL)
    make_many_open(database, webhook.id, 3)
    for said in explained(database, settings, *(delivery.id for delivery in deliveries(database))):
        assert in_turn(said).parameters["before"] == 2


@pytest.mark.parametrize("retries", [False, True])
def test_those_before_it_are_counted_up_to_a_bound_and_no_more_are_read(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, retries: bool
) -> None:
    monkeypatch.setattr(reading, "COUNTED", 100)
    webhook, other = (make_webhook(database, settings, url=URL) for _ in range(2))
    for each in (webhook, other):
        make_many_open(database, each.id, 1_500)
    if retries:
        change(database, "UPDATE dispatcher.deliveries SET schedule_step = 1")
    last = rows(database, "SELECT id FROM dispatcher.deliveries WHERE webhook_id = :id LIMIT 1", id=webhook.id)[0].id
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() WHERE id = :id", id=last)
    with database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM ANALYZE dispatcher.deliveries"))
    with Session(database) as session, reading_less_than(320, session, "deliveries"):
        said = explain_deliveries(session, installation_for(settings), [last], exact=True)[last]
    assert (in_turn(said).parameters["before"], in_turn(said).parameters["before_complete"]) == (100, False)
    assert "100 or more deliveries of the webhook are before it" in in_turn(said).text


@pytest.mark.parametrize(
    ("kind", "doing", "age", "found"),
    [
        ("deliver", "loop", 5, "in_turn"),
        ("maintenance", "suspects", 5, "in_turn"),
        ("deliver", "loop", 60, "nothing_delivers"),
        ("deliver", "loop", -60, "nothing_delivers"),
        ("api", "", 5, "nothing_delivers"),
        ("maintenance", "upkeep", 5, "nothing_delivers"),
    ],
)
def test_it_says_so_when_no_process_that_delivers_lives(
    database: Engine, settings: Settings, kind: str, doing: str, age: int, found: str
) -> None:
    make_webhook(database, settings, url=URL)
    enqueue("message.sent", 1, account="acme")
    change(database, LIVES, kind=kind, doing=doing, age=age)
    assert codes(database, settings, deliveries(database)[0].id)[0] == found


@pytest.mark.parametrize(("faults", "found"), [(["tls", "dns tls"], "host_fault"), (["tls", None], "in_turn")])
def test_a_fault_of_all_hosts_that_deliver_is_told(
    database: Engine, settings: Settings, faults: list[str | None], found: str
) -> None:
    make_webhook(database, settings, url=URL)
    enqueue("message.sent", 1, account="acme")
    for fault in faults:
        change(database, LIVES, kind="deliver", doing="loop", age=5)
        change(database, "UPDATE dispatcher.processes SET fault = coalesce(fault, :fault)", fault=fault)
    assert codes(database, settings, deliveries(database)[0].id)[0] == found


def test_a_delivery_is_explained_from_its_first_attempt_to_its_end(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(429, headers=(("Retry-After", "1800"),)), Answer(503), Answer(200))
    rules = {"429": {"verdict": "temporary", "honour_retry_after": True}}
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"rules": rules})
    enqueue("message.sent", 1, account="acme")
    (delivery,) = deliveries(database)
    deliver_all(settings)
    (first,) = explained(database, settings, delivery.id)
    assert [sentence.code for sentence in first] == [
        *("retry_due", "last_attempt", "retry_after_honoured", "last_retry", "can_send_at_once"),
    ]
    assert first[0].text.startswith("Retry 1 of 196 is due at ")
    make_due(database)
    sweep_once(settings)
    deliver_all(settings)
    (second,) = explained(database, settings, delivery.id)
    assert [sentence.code for sentence in second] == ["retry_due", "last_attempt", "last_retry", "can_send_at_once"]
    assert (second[0].parameters["retry"], second[1].parameters["status"]) == (2, 503)
    make_due(database)
    sweep_once(settings)
    deliver_all(settings)
    (last,) = explained(database, settings, delivery.id)
    assert [sentence.code for sentence in last] == ["delivered", "can_redeliver"]
    assert "with attempt 3: the receiver answered 200" in last[0].text


def test_a_token_that_cannot_be_fetched_is_told_of_the_delivery_and_of_the_webhook(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    server = TokenServer(receiver)
    receiver.script("/token", Answer(500))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (said,) = explained(database, settings, deliveries(database)[0].id)
    assert "no token could be fetched" in said[1].text
    with Session(database) as session, statements(database, 9):
        webhooks = Webhooks(session, installation_for(settings))
        found = webhooks.read(None, webhook.id)
        health = health_of(session, found.webhook)
        told = explain_health(session, installation_for(settings), webhook.id, health, found.unreadable, exact=True)
    assert [sentence.code for sentence in told] == [
        *("webhook_failing", "last_answer", "deliveries_open", "no_token", "no_contact"),
    ]


def test_an_id_is_found_for_what_it_is(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    (request,) = rows(database, "SELECT id FROM dispatcher.requests")
    with Session(database) as session:
        for identifier, kind in (
            (delivery.event_id, Kind.EVENT),
            (delivery.id, Kind.DELIVERY),
            (webhook.id, Kind.WEBHOOK),
        ):
            with statements(database, 1):
                assert find(session, identifier).kind == kind
        with statements(database, 2):
            found = find(session, request.id)
        assert (found.kind, found.webhook, list(found.deliveries)) == (Kind.REQUEST, webhook.id, [delivery.id])
        with pytest.raises(NotFound, match="there is no event, delivery, webhook or request"):
            find(session, new_id())


def test_a_request_that_carried_a_batch_leads_to_all_its_deliveries_and_reads_few(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LOOKED_AT", 50)
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    for _ in range(3):
        enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    carried = [delivery.id for delivery in deliveries(database)]
    change(
        database,
        "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)"
        " SELECT (n || '0198a6de3c1f7d078b1d3f0a52c')::uuid, gen_random_uuid(), :webhook, 'delivered', now(), now()"
        " FROM (SELECT '0' || lpad(n::text, 4, '0') AS n FROM generate_series(1000, 2999) n) older",
        webhook=webhook.id,
    )
    change(database, "ANALYZE dispatcher.deliveries")
    (request,) = rows(database, "SELECT id FROM dispatcher.requests")
    with Session(database) as session, reading_less_than(300, session, "deliveries"):
        found = find(session, request.id)
    assert (found.messages, list(found.deliveries)) == (3, carried)


LEFT_OUT = {
    "webhooks": frozenset({"account_id"}),
    "deliveries": frozenset({"event_id", "webhook_id", "state"}),
    "events": frozenset({"account_id"}),
    "accounts": frozenset({"name"}),
    "circuit_breakers": frozenset[str](),
    "attempts": frozenset({"request_id"}),
    "requests": frozenset({"webhook_id"}),
    "notices": frozenset({"webhook_id"}),
    "tokens": frozenset[str](),
}
BESIDE = """
INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)
SELECT id, 7, now(), now(), now() FROM dispatcher.webhooks
ON CONFLICT (webhook_id) DO UPDATE SET opened_at = now(), trial_at = now();
INSERT INTO dispatcher.tokens (webhook_id, credentials, fetch_id, next_fetch_at)
SELECT id, '', gen_random_uuid(), now() FROM dispatcher.webhooks;
INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id, last_sent_at)
SELECT gen_random_uuid(), id, 'message_retrying', 'http_503', now(), gen_random_uuid(), now() FROM dispatcher.webhooks
"""


def explain_all(
    connection: Connection, settings: Settings, webhook: UUID, wanted: UUID, *, with_health: bool
) -> list[list[Sentence]]:
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        installation = installation_for(settings)
        found = [*explain_deliveries(session, installation, [wanted], exact=True).values()]
        if with_health:
            health = health_of(session, session.get_one(Webhook, webhook))
            found.append(explain_health(session, installation, webhook, health, None, exact=True))
        return found


@pytest.mark.parametrize("table", LEFT_OUT)
def test_whatever_one_row_holds_it_is_explained(
    database: Engine, settings: Settings, receiver: Receiver, table: str
) -> None:
    receiver.script("/hook", Answer(503))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), contact_email="ops@example.com")
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    change(database, "DELETE FROM dispatcher.notices")
    change(database, BESIDE)
    (delivery,) = deliveries(database)
    tried, with_health = 0, table not in {"deliveries", "attempts", "events"}
    with database.connect() as connection:
        for column, value in odd_values(Base.metadata.tables[f"dispatcher.{table}"], LEFT_OUT[table]):
            for state in ("ready", "waiting", "claimed", "discarded") if table == "deliveries" else ("ready",):
                with connection.begin_nested() as attempt:
                    connection.execute(text(f"UPDATE dispatcher.deliveries SET state = '{state}'"))
                    if refused(connection, f"UPDATE dispatcher.{table} SET {column} = {value}"):
                        break
                    found = explain_all(connection, settings, webhook.id, delivery.id, with_health=with_health)
                    assert all(found), (column, value)
                    tried += 1
                    attempt.rollback()
    assert tried >= 10
