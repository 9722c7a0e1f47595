"""`/metrics`: who may read it, what it says, and that reading it costs the database next to nothing."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.api.metrics import families, reading
from dispatcher.diagnosis import statements
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.exposition import Exposition, read
from tests.factories import MESSAGE, RECEIVED, change, make_webhook, rows
from tests.integration.api.conftest import Api, MakeKey, Restarted
from tests.many_rows import copy_webhook, make_many, make_many_open, reading_less_than
from workers.results.host_faults import Step

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch, api: Api, restarted: Restarted) -> Iterator[Restarted]:
    monkeypatch.setenv("DISPATCHER_METRICS_TOKEN", TOKEN)
    monkeypatch.setattr(reading, "KEPT_SECONDS", 0.0)
    restarted()
    yield restarted
    restarted()


Scrape = Callable[[], Exposition]


@pytest.fixture
def scrape(api: Api, with_token: Restarted) -> Scrape:
    def do() -> Exposition:
        answer = api.call("GET", "/metrics", token=TOKEN)
        assert answer.status_code == 200, answer.text
        return read(answer)

    return do


def test_without_a_token_there_are_no_metrics(api: Api, operator: str) -> None:
    for token in (None, operator, TOKEN):
        answer = api.call("GET", "/metrics", token=token)
        assert (answer.status_code, "DISPATCHER_METRICS_TOKEN" in answer.json()["detail"]) == (404, True)


def test_the_token_or_an_operators_key_is_needed(
    api: Api, with_token: Restarted, make_key: MakeKey, operator: str
) -> None:
    def status(token: str | None) -> int:
        return api.call("GET", "/metrics", token=token).status_code

    customer = make_key("acme", *[scope for scope in Scope if scope not in {Scope.OPERATOR, Scope.OBSERVE}])
    assert [status(token) for token in (None, TOKEN[:-1], f"{TOKEN}x", "é", customer)] == [401, 401, 401, 401, 403]
    assert [status(token) for token in (TOKEN, operator)] == [200, 200]
    assert api.call("GET", "/metrics?collect[]=all", token=TOKEN).status_code == 200  # as Prometheus may be told to ask


def test_a_revoked_operators_key_reads_nothing_any_more(
    api: Api, with_token: Restarted, database: Engine, operator: str
) -> None:
    assert api.call("GET", "/metrics", token=operator).status_code == 200
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    assert api.call("GET", "/metrics", token=operator).status_code == 401


def test_events_are_counted_as_accepted_or_by_the_reason_of_their_refusal(
    api: Api, scrape: Scrape, token: str, manager: str
) -> None:
    before = scrape()
    event = {"type": "message.sent", "data": {}}
    for sent, shown in ((event, token), (event, None), (event, manager), ({"type": "no type"}, token)):
        api.post_event(sent, token=shown)
    for data in (1, 2):
        api.post_event({**event, "data": data, "idempotency_key": "one"}, token=token)
    answer = api.call("POST", "/v1/events/batch", {"events": [event, event, {"type": 1}]}, token=token)
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 1)
    after = scrape()

    def grown(name: str, /, **labels: str) -> float:
        found = [each.find(name, **labels) or 0 for each in (after, before)]
        return found[0] - found[1]

    assert grown("dispatcher_events_accepted_total") == 4
    reasons = ("unauthorized", "forbidden", "key_reused", "invalid")
    assert [grown("dispatcher_events_refused_total", reason=reason) for reason in reasons] == [1, 1, 1, 2]
    assert grown("dispatcher_event_group_size_sum") >= 2
    request = {"route": "/v1/events", "method": "POST", "status": "202"}
    assert grown("dispatcher_api_requests_total", **request) == 2


def test_labels_have_routes_and_never_what_a_client_or_a_customer_chose(
    api: Api, scrape: Scrape, database: Engine, settings: Settings, manager: str
) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/planted-path")
    enqueue(RECEIVED, MESSAGE, account="acme")
    for path in (
        f"/v1/webhooks/{webhook.id}",
        f"/v1/events/{uuid4()}",
        f"/bulksms/v1/webhooks/{webhook.id}",
        "/planted-path",
        '/planted-path"}\n',
    ):
        api.call("GET", path, token=manager)
    origin, _, port = api.origin.removeprefix("http://").partition(":")
    with socket.create_connection((origin, int(port)), timeout=10) as connection:
        connection.sendall(b"PLANTED /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").readline()
    found = scrape()
    assert found.value("dispatcher_api_requests_total", route="/v1/webhooks/{webhook_id}", method="GET", status="200")
    assert found.value("dispatcher_api_requests_total", route="/v1/events/{event_id}", method="GET", status="404")
    assert found.value("dispatcher_api_requests_total", route="unknown", method="GET", status="404") >= 2
    # Others of this process may have asked for more of them.
    bulksms = {value for value in found.label_values() if value.startswith("/bulksms/")}
    assert "/bulksms/v1/webhooks/{id}" in bulksms
    assert all("{id}" in value or value.count("/") <= 3 for value in bulksms), bulksms
    for word in (str(webhook.id), "planted", "PLANTED", "acme"):
        assert not found.shows(word)


def test_what_waits_is_counted_by_state_and_by_the_oldest_that_nothing_keeps(
    scrape: Scrape, database: Engine, settings: Settings
) -> None:
    for name in ("kept", "late", "limited", "busy", "failing"):
        make_webhook(database, settings, url=f"http://127.0.0.1:9/{name}", name=name)
    enqueue(RECEIVED, MESSAGE, account="acme")

    def state(name: str, changed: str) -> None:
        change(
            database,
            f"UPDATE dispatcher.deliveries d SET {changed} FROM dispatcher.webhooks w"
            " WHERE w.id = d.webhook_id AND w.name = :name",
            name=name,
        )

    for name, age in (("kept", 900), ("late", 100), ("limited", 800), ("busy", 700), ("failing", 600)):
        state(name, f"due_at = now() - interval '{age} s'")
    change(database, "UPDATE dispatcher.webhooks SET enabled = false WHERE name = 'kept'")
    change(database, "UPDATE dispatcher.webhooks SET rate_limit = 1 WHERE name = 'limited'")
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)"
        " SELECT id, 5, now(), now(), now() FROM dispatcher.webhooks WHERE name = 'failing'",
    )
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(
        database,
        "UPDATE dispatcher.deliveries d SET state = 'claimed', claimed_by = gen_random_uuid(),"
        " claimed_until = now() - interval '1 s' WHERE webhook_id = (SELECT id FROM dispatcher.webhooks WHERE name ="
        " 'busy') AND due_at > now() - interval '60 s'",
    )
    found = scrape()
    assert [found.value("dispatcher_open_deliveries", state=s) for s in ("ready", "claimed", "waiting")] == [9, 1, 0]
    assert 100 <= found.value("dispatcher_oldest_due_seconds") < 200
    assert found.value("dispatcher_expired_claims") == 1
    assert found.value("dispatcher_circuits_open") == 1
    assert found.value("dispatcher_retry_overdue_seconds") == 0
    state("late", "state = 'waiting'")
    later = scrape()
    assert later.value("dispatcher_oldest_due_seconds") < 60
    assert 100 <= later.value("dispatcher_retry_overdue_seconds") < 200


def test_the_oldest_is_found_among_more_webhooks_than_one_look_visits(
    scrape: Scrape, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    copy_webhook(database, settings, 2_200)
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(
        database,
        "UPDATE dispatcher.deliveries SET due_at = now() - interval '500 s'"
        " WHERE webhook_id = (SELECT webhook_id FROM dispatcher.deliveries ORDER BY webhook_id DESC LIMIT 1)",
    )
    ages = [scrape().value("dispatcher_oldest_due_seconds") for _ in range(4)]
    assert [age >= 500 for age in ages] == [False, False, True, True]


def test_processes_leases_and_partitions_are_shown(scrape: Scrape, database: Engine) -> None:
    change(
        database,
        "INSERT INTO dispatcher.processes (id, kind, host, pid, version, schema_from, schema_to, started_at, seen_at,"
        " doing) SELECT gen_random_uuid(), kind, 'host', 1, '1.2.3', '', '', now(), now() - age, 'parked' FROM (VALUES"
        " ('deliver', interval '2 s'), ('deliver', interval '3 s'), ('maintenance', interval '10 min'),"
        " ('planted-kind', interval '1 s')) v(kind, age)",
    )
    change(
        database,
        "INSERT INTO dispatcher.leases (name, holder, until)"
        " VALUES ('sweep', gen_random_uuid(), now() - interval '50 s')",
    )
    change(
        database,
        "UPDATE dispatcher.processes SET fault = CASE kind WHEN 'deliver' THEN 'dns' ELSE 'tls' END,"
        " fault_since = now() WHERE kind <> 'planted-kind'",
    )
    found = scrape()
    assert found.value("dispatcher_processes", kind="deliver", version="1.2.3") == 2
    assert 2 <= found.value("dispatcher_heartbeat_age_seconds", kind="deliver") < 60
    assert 600 <= found.value("dispatcher_heartbeat_age_seconds", kind="maintenance") < 700
    assert found.value("dispatcher_heartbeat_age_seconds", kind="api") == float("inf")
    assert 50 <= found.value("dispatcher_lease_overdue_seconds", lease="sweep") < 100
    assert not found.shows("planted-kind")
    assert [found.value("dispatcher_host_faults", step=step) for step in Step] == [1, 0, 0]
    weeks = found.value("dispatcher_partitions_ahead_seconds", table="events") / (7 * 24 * 3600)
    assert 8 <= weeks <= 9
    assert found.value("dispatcher_table_bytes", table="deliveries") >= 0
    assert found.value("dispatcher_database_connections", name="dispatcher-metrics") == 1
    assert found.value("dispatcher_database_connections_limit") >= 20


def test_a_partition_that_ends_after_all_times_takes_nothing_from_the_page(scrape: Scrape, database: Engine) -> None:
    last = "f" * 8 + "-ffff" * 3 + "-" + "f" * 12
    change(
        database,
        "CREATE TABLE dispatcher.audit_last PARTITION OF dispatcher.audit"
        f" FOR VALUES FROM ('{last[:-1]}0') TO ('{last}')",
    )
    try:
        assert scrape().value("dispatcher_partitions_ahead_seconds", table="audit") > 10**9
    finally:
        change(database, "DROP TABLE dispatcher.audit_last")


def test_an_open_transaction_is_seen_by_its_snapshot(scrape: Scrape, database: Engine) -> None:
    with database.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        assert scrape().value("dispatcher_database_oldest_snapshot_seconds") >= 0.3


def test_notices_and_suspects_are_counted_by_what_keeps_them(
    scrape: Scrape, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET deaths = 2")
    change(
        database,
        "INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id, due_at, held_for,"
        " failed_sends) SELECT gen_random_uuid(), :webhook, 'failure', n::text, now(), gen_random_uuid(),"
        " now() - n * interval '1 min', CASE WHEN n = 9 THEN 'a@example.com' END, (n = 5)::integer"
        " FROM unnest(ARRAY[1, 2, 5, 9]) n",
        webhook=webhook.id,
    )
    found = scrape()
    assert [found.value("dispatcher_notices_due", state=s) for s in ("now", "failed", "held_back")] == [2, 1, 1]
    assert 300 <= found.value("dispatcher_oldest_notice_due_seconds") < 400
    assert found.value("dispatcher_suspects") == 1
    assert not found.shows("example.com")


def test_messages_in_the_broker_are_counted(scrape: Scrape, broker: "redis.Redis") -> None:
    for _ in range(3):
        broker.rpush("upkeep", "a message")
    found = scrape()
    assert found.value("dispatcher_broker_queue_messages", queue="upkeep") == 3
    assert (found.value("dispatcher_broker_up"), found.value("dispatcher_database_up")) == (1, 1)


@pytest.mark.parametrize("away", ["database", "broker"])
def test_what_the_process_counts_is_shown_although_a_server_is_away(
    away: str, api: Api, with_token: Restarted, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, scheme = {"database": ("DATABASE_URL", "postgresql"), "broker": ("BROKER_URL", "redis")}[away]
    monkeypatch.setenv(variable, f"{scheme}://127.0.0.1:{refusing_port()}/0")
    with_token()
    found = read(api.call("GET", "/metrics", token=TOKEN))
    other = "broker" if away == "database" else "database"
    assert (found.value(f"dispatcher_{away}_up"), found.value(f"dispatcher_{other}_up")) == (0, 1)
    assert "dispatcher_events_accepted_total" in found.names()
    assert "dispatcher_oldest_due_seconds" not in found.names() or away == "broker"


def test_every_family_of_the_catalogue_is_on_the_page(api: Api, scrape: Scrape, database: Engine, token: str) -> None:
    change(database, """UPDATE dispatcher.accounts SET limits = '{"stored_bytes": 1}', stored_bytes = 1""")
    assert api.post_event({"type": "message.sent"}, token=token).status_code == 429
    change(database, "INSERT INTO dispatcher.leases (name, holder, until) VALUES ('sweep', gen_random_uuid(), now())")
    change(
        database,
        "INSERT INTO dispatcher.processes (id, kind, host, pid, version, schema_from, schema_to, started_at, seen_at,"
        " doing) VALUES (gen_random_uuid(), 'api', 'host', 1, '1', '', '', now(), now(), 'serving')",
    )
    names = scrape().names()
    assert {family.shown_name for family in families.FAMILIES} - names == set()


@contextmanager
def _statements() -> Iterator[list[str]]:
    """The statements that this process sends meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_a_page_takes_six_statements_and_those_who_ask_at_once_share_it(
    api: Api, with_token: Restarted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "KEPT_SECONDS", 60.0)
    with _statements() as sent, ThreadPoolExecutor(8) as clients:
        pages = list(clients.map(lambda _: api.call("GET", "/metrics", token=TOKEN), range(24)))
    assert {page.status_code for page in pages} == {200}
    assert len(sent) == 6


def test_a_page_reads_a_bounded_number_of_rows_by_their_indexes(
    database: Engine, settings: Settings, with_token: Restarted
) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    make_many(database, webhook.id)
    make_many_open(database, webhook.id, 30_000)
    make_many_open(database, webhook.id, 30_000, state="waiting")
    with Session(database) as session:
        session.connection().exec_driver_sql("SET LOCAL enable_seqscan = off")
        with reading_less_than(2 * statements.COUNTED + 100, session, "deliveries"):  # of 80,000
            found = session.connection().execute(statements.WORK).one()
        with reading_less_than(20, session, "deliveries"):
            due = session.connection().execute(statements.OLDEST_DUE, {"after": uuid4()}).one()
        with reading_less_than(20, session, "deliveries"):
            session.connection().execute(statements.TABLES, {"tables": ["deliveries"]}).all()
    assert found.open_ready >= statements.COUNTED
    assert due.visited <= 1
    assert rows(database, "SELECT 1 FROM dispatcher.deliveries LIMIT 1")
