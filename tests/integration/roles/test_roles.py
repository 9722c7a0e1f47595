"""Each kind of process does its work as a member of its role, and each role can do no more than that."""

import asyncio
import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
import requests
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import Accepted, Event, KeyReused, aenqueue, enqueue, enqueue_many
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.accounts.lifecycle import delete
from dispatcher.asgi import create_app
from dispatcher.db.binding import Binding
from dispatcher.db.models import Base
from dispatcher.db.partitions import week_of
from dispatcher.db.roles import ROLES
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.ids import first_id_at
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.deploy_files import ROOT
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change,
    deliver_all,
    in_use_before,
    make_due,
    make_webhook,
    redeliver_more,
    rows,
    sweep_if_due,
    sweep_once,
    upkeep_once,
)
from tests.installations import installation_for, worker_for
from tests.integration.api.conftest import Api, running_app
from tests.integration.cli.conftest import run_command
from tests.integration.diagnosis.patients import found_by, level_of
from tests.integration.roles.conftest import Server
from tests.integration.workers.notices.conftest import mailer_for
from tests.mail_server import MailServer
from tests.process_table import eventually
from tests.receiver import Receiver
from workers.notices.send import send_due_alone

pytestmark = pytest.mark.xdist_group("roles")

URL = "https://example.com/hook"


def test_a_producer_enqueues_in_python_alone_in_groups_and_in_its_own_transaction(
    owner: Engine, settings_of: Callable[[str], Settings]
) -> None:
    make_webhook(owner, settings_of("api"), url=URL, event_types=["message.inbound"])
    producer = installation_for(settings_of("producer"))
    accepted = enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="k", producer=producer)
    assert enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="k", producer=producer) == Accepted(
        accepted.event_id, 1, repeated=True
    )
    with pytest.raises(KeyReused):
        enqueue(RECEIVED, {}, account="acme", idempotency_key="k", producer=producer)
    many = [Event(type=RECEIVED, data=number, account="acme") for number in range(3)]
    assert [receipt.deliveries for receipt in enqueue_many(many, producer=producer)] == [1, 1, 1]  # type: ignore[union-attr]
    assert asyncio.run(aenqueue("message.inbond", 1, account="acme", producer=producer)).nearest_types == (
        "message.inbound",
    )
    with Session(producer.engine) as session, session.begin():
        enqueue(RECEIVED, MESSAGE, account="acme", session=session, producer=producer)
    assert rows(owner, "SELECT count(*), sum(delivery_count) FROM dispatcher.events") == [(6, 5)]


def test_a_producer_enqueues_in_sql_and_a_rollback_undoes_it(
    server: Server, owner: Engine, settings_of: Callable[[str], Settings]
) -> None:
    make_webhook(owner, settings_of("api"), url=URL)
    call = (
        "SELECT deliveries, repeated FROM dispatcher.enqueue_v1('acme', 'a.b', '{\"id\": 1}', idempotency_key => 'k')"
    )
    with closing(server.connect("as_producer")) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {call}")
        assert cursor.fetchall() == [(1, False)]
        cursor.execute("ROLLBACK")
        assert rows(owner, "SELECT FROM dispatcher.events") == rows(owner, "SELECT FROM dispatcher.deliveries") == []
        for repeated in (False, True):
            cursor.execute(call)
            assert cursor.fetchall() == [(1, repeated)]


def test_the_api_does_all_its_work(
    owner: Engine, settings_of: Callable[[str], Settings], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, workers = settings_of("api"), settings_of("workers")
    monkeypatch.setenv("DATABASE_URL", api.database_url.get_secret_value())
    monkeypatch.setenv("DISPATCHER_METRICS_TOKEN", "a-token-of-the-tests")
    with installation_for(api).transaction() as session:
        operator = create_key(session, by=TESTER, account=None, scopes=[Scope.OPERATOR]).token
    with running_app(create_app()) as origin:
        calls = Api(origin)

        def call(method: str, path: str, body: Any = None, status: int = 200) -> Any:
            answer: requests.Response = calls.call(method, path, body, token=operator)
            assert answer.status_code == status, answer.text
            return answer.json() if answer.content else None

        assert calls.get("/readyz").json()["parts"]["database"] == {"status": "ok", "detail": None}
        call("POST", "/v1/accounts", {"name": "acme"}, 201)
        fields = {"account": "acme", "url": receiver.url("/hook"), "event_types": ["*"]}
        webhook = call("POST", "/v1/webhooks", fields, 201)["id"]
        call("PATCH", f"/v1/webhooks/{webhook}", {"event_types": ["a", "b"]})
        call("POST", f"/v1/webhooks/{webhook}/disable", {})
        call("POST", f"/v1/webhooks/{webhook}/enable")
        assert call("POST", "/v1/events", {"account": "acme", "type": "a", "data": {}}, 202)["deliveries"] == 1
        assert deliver_all(workers)["delivered"] == 1
        (delivery,) = call("GET", "/v1/deliveries?account=acme")["items"]
        shown = call("GET", f"/v1/deliveries/{delivery['id']}")
        assert shown["explanation"]
        assert call("GET", f"/v1/events/{shown['event']['id']}")["data"] == {}
        assert call("GET", f"/v1/webhooks/{webhook}/health")["explanation"]
        assert "dispatcher_open_deliveries" in calls.call("GET", "/metrics", token="a-token-of-the-tests").text
        call("POST", f"/v1/deliveries/{delivery['id']}/redeliver", status=202)
        assert deliver_all(workers)["delivered"] == 1
        call("POST", "/v1/redeliveries", {"account": "acme", "filter": {"states": ["delivered"]}}, 202)
        assert redeliver_more(workers)["redelivered"] == 1
        untaken = [call("POST", "/v1/events", {"account": "acme", "type": "c", "data": {}}, 202) for _ in range(2)]
        call("POST", f"/v1/events/{untaken[0]['event_id']}/deliveries", {"webhook": webhook}, 202)
        call("PATCH", f"/v1/webhooks/{webhook}", {"event_types": ["c"]})
        call("POST", f"/v1/webhooks/{webhook}/replay", {"since": "2026-01-01T00:00:00Z"}, 202)
        assert redeliver_more(workers)["redelivered"] == 1
        assert {entry["action"] for entry in call("GET", "/v1/audit")["items"]} >= {"account.created"}
        call("DELETE", f"/v1/webhooks/{webhook}", status=204)
        assert eventually(lambda: bool(rows(owner, "SELECT FROM dispatcher.processes WHERE kind = 'api'")))
        call("DELETE", "/v1/accounts/acme", status=202)


def test_workers_deliver_sweep_keep_up_and_remove(
    owner: Engine, settings_of: Callable[[str], Settings], receiver: Receiver
) -> None:
    api, workers = settings_of("api"), settings_of("workers")
    receiver.script("/hook", Answer(503), Answer(204))
    make_webhook(owner, api, url=receiver.url("/hook"), contact_email="ops@example.com")
    enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="k", producer=installation_for(api))
    assert deliver_all(workers)["retried"] == 1
    make_due(owner)
    assert sweep_once(workers)["promoted"] == 1
    assert deliver_all(workers)["delivered"] == 1
    with installation_for(api).transaction() as session:
        (delivery,) = rows(owner, "SELECT id FROM dispatcher.deliveries")
        redeliver(session, find_account(session, "acme"), delivery.id, installation_for(api).timing, by=TESTER)
    assert deliver_all(workers)["delivered"] == 1
    assert sweep_if_due(workers, worker_for(workers).heartbeat) != {}
    with MailServer() as mail_server:
        assert (
            send_due_alone(installation_for(workers).engine, mailer_for(workers, mail_server.port), pytest.fail)["sent"]
            == 1
        )
    with installation_for(api).transaction() as session:
        delete(session, find_account(session, "acme"), by=TESTER)
    change(owner, "UPDATE dispatcher.webhooks SET deleted_at = now() - interval '1 hour'")
    ahead = week_of("events", first_id_at(datetime.now(UTC) + timedelta(weeks=8))).name
    change(owner, f"DROP TABLE dispatcher.{ahead}")
    change(owner, "UPDATE dispatcher.idempotency_keys SET expires_at = now()")
    done = upkeep_once(workers)
    assert (done["partitions"], done["partitions_left"]) == (1, 0)
    assert rows(owner, "SELECT FROM dispatcher.accounts") == []
    assert rows(owner, "SELECT relowner::regrole::text FROM pg_class WHERE relname = :name", name=ahead) == [
        ("dispatcher",)
    ]


def test_workers_remove_a_week_that_is_over_and_no_other_table(server: Server, owner: Engine) -> None:
    over = week_of("requests", first_id_at(datetime.now(UTC) - timedelta(weeks=5)))
    this = week_of("requests", first_id_at(datetime.now(UTC)))
    change(
        owner,
        f"CREATE TABLE dispatcher.{over.name} PARTITION OF dispatcher.requests"
        f" FOR VALUES FROM ('{over.first}') TO ('{over.end}')",
    )
    with closing(server.connect("as_workers")) as connection, connection.cursor() as cursor:
        for refused in (
            f"SELECT dispatcher.drop_week_v1('{over.name}')",  # it is not detached
            f"SELECT dispatcher.detach_week_v1('requests', '{this.name}')",  # it is not over
            f"SELECT dispatcher.detach_week_v1('events', '{over.name}')",
            "SELECT dispatcher.drop_week_v1('accounts')",
            "SELECT dispatcher.detach_week_v1('accounts', 'accounts')",
            f"SELECT dispatcher.begin_partition_v1('accounts', 'accounts_1', '{over.first}', '{over.end}', false)",
            f"SELECT dispatcher.attach_partition_v1('requests', 'accounts', '{over.first}', '{over.end}')",
            f"SELECT dispatcher.attach_partition_v1('requests', 'attempts', '{over.first}', '{over.end}')",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(refused)
        cursor.execute(f"SELECT dispatcher.detach_week_v1('requests', '{over.name}')")
        cursor.execute(f"SELECT dispatcher.drop_week_v1('{over.name}')")
    assert rows(owner, "SELECT to_regclass(:name) IS NULL AS gone", name=f"dispatcher.{over.name}") == [(True,)]


def test_what_everybody_may_do_is_taken_away(server: Server) -> None:
    def may(role: str) -> list[tuple[Any, ...]]:
        with closing(server.connect(f"as_{role}")) as connection, connection.cursor() as cursor:
            cursor.execute("""
SELECT has_table_privilege('dispatcher.accounts', 'UPDATE'),
  has_table_privilege('dispatcher.idempotency_keys', 'SELECT'),
  has_function_privilege('dispatcher.drop_week_v1(text)', 'EXECUTE')""")
            return list(cursor.fetchall())

    before = may("readonly")
    with closing(server.connect("postgres")) as superuser, superuser.cursor() as cursor:
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA dispatcher TO PUBLIC")
        cursor.execute("GRANT ALL ON ALL FUNCTIONS IN SCHEMA dispatcher TO PUBLIC")
        assert may("readonly") == [(True, True, True)]
        cursor.execute(run_command("roles", "--print").out)
    assert may("readonly") == before == [(False, False, False)]


@pytest.mark.parametrize("role", ["api", "workers", "readonly"])
def test_the_doctor_has_nothing_against_the_rights_of_a_role(role: str, settings_of: Callable[[str], Settings]) -> None:
    assert level_of("rights", settings_of(role)) == ("not_checked" if role == "readonly" else "ok")


@pytest.mark.parametrize(
    ("role", "right"),
    [
        ("workers", "UPDATE ON dispatcher.deliveries"),
        ("workers", "EXECUTE ON FUNCTION dispatcher.begin_partition_v1"),
        ("api", "EXECUTE ON FUNCTION dispatcher.store_v1"),
    ],
)
def test_the_doctor_names_a_right_that_a_role_has_lost(
    role: str, right: str, server: Server, settings_of: Callable[[str], Settings]
) -> None:
    settings = settings_of(role)
    with closing(server.connect("postgres")) as superuser, superuser.cursor() as cursor:
        cursor.execute(f"REVOKE {right} FROM dispatcher_{role}")
        try:
            (found,) = found_by("rights", settings)
        finally:
            cursor.execute(f"GRANT {right} TO dispatcher_{role}")
    lacks = right.replace("FUNCTION ", "").replace("ON dispatcher.", "on ")
    assert (found.level, found.says) == ("fail", f"the role as_{role} lacks what {role} needs: {lacks}")


def test_workers_bind_secrets_that_an_older_version_wrote(
    owner: Engine, settings_of: Callable[[str], Settings]
) -> None:
    with in_use_before(owner):
        make_webhook(owner, settings_of("api"), url=URL)
        upkeep_once(settings_of("workers"))
        change(owner, "UPDATE dispatcher.installation SET secrets_bound_from = now() - interval '61 minutes'")
        upkeep_once(settings_of("workers"))
        assert upkeep_once(settings_of("workers"))["secrets_bound"] == 2
        change(owner, "UPDATE dispatcher.installation SET secrets_bound_from = now() - interval '61 minutes'")
        upkeep_once(settings_of("workers"))
        assert installation_for(settings_of("workers")).vault.binding is Binding.DONE


def test_who_only_reads_can_use_the_commands_that_show_something(
    owner: Engine, settings_of: Callable[[str], Settings], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = settings_of("api")
    webhook = make_webhook(owner, api, url=receiver.url("/hook"))
    event = enqueue(RECEIVED, MESSAGE, account="acme", producer=installation_for(api)).event_id
    deliver_all(settings_of("workers"))
    (delivery,) = rows(owner, "SELECT id FROM dispatcher.deliveries")
    monkeypatch.setenv("DATABASE_URL", settings_of("readonly").database_url.get_secret_value())
    for words in (
        ("account", "list"),
        ("account", "show", "acme"),
        ("key", "list"),
        ("webhook", "list"),
        ("webhook", "show", webhook.id),
        ("webhook", "health", webhook.id),
        ("notice", "list", "--account", "acme"),
        ("event", "list", "--account", "acme"),
        ("event", "show", event),
        ("delivery", "list", "--account", "acme"),
        ("delivery", "show", delivery.id),
        ("redelivery", "list", "--account", "acme"),
        ("audit-log",),
        ("explain", delivery.id),
        ("explain", webhook.id),
        ("retention", "--dry-run"),
    ):
        ran = run_command(*words)
        assert ran.status == 0, (words, ran.err)
    assert run_command("account", "create", "other").status == 1


# What no process with the role needs. Each fails for want of rights, not for its form.
_ALL = (
    "DROP TABLE dispatcher.rates",
    "ALTER TABLE dispatcher.events DETACH PARTITION dispatcher.{events}",
    "DROP TABLE dispatcher.{events}",
    "CREATE TABLE dispatcher.mine (id int)",
    "CREATE FUNCTION dispatcher.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "TRUNCATE dispatcher.events",
    "UPDATE dispatcher.events SET data = ''",
    "DELETE FROM dispatcher.events",
    "SELECT * FROM dispatcher.{events}",
    "UPDATE dispatcher.audit SET actor = ''",
    "DELETE FROM dispatcher.audit",
    "UPDATE dispatcher.requests SET status = 200",
    "UPDATE dispatcher.requests SET answer_headers = '', url_masked = ''",
    "DELETE FROM dispatcher.attempts",
    "UPDATE dispatcher.migrations SET version_num = '0001'",
    "UPDATE dispatcher.installation SET id = gen_random_uuid()",
    "UPDATE dispatcher.installation SET oldest_revision = '9999'",
    "UPDATE dispatcher.installation SET retention_from = now()",
    "COMMENT ON TABLE dispatcher.{events} IS 'dispatcher removes this week: '",
    "SET ROLE dispatcher",
)
_NO_CHANGES = (
    *(f"DELETE FROM dispatcher.{table}" for table in ("webhooks", "accounts", "deliveries", "api_keys", "retention")),
    "UPDATE dispatcher.requests SET answer_headers = NULL, answer_excerpt = NULL",
    "INSERT INTO dispatcher.retention SELECT",
)
_NO_WEEKS = (
    "SELECT dispatcher.begin_partition_v1('events', 'events_1', gen_random_uuid(), gen_random_uuid(), false)",
    "SELECT dispatcher.attach_partition_v1('events', 'events_1', gen_random_uuid(), gen_random_uuid())",
    "SELECT dispatcher.detach_week_v1('events', 'events_1')",
    "SELECT dispatcher.keep_week_v1('events_1')",
    "SELECT dispatcher.drop_week_v1('events_1')",
)
_NO_SQL_ENQUEUE = ("SELECT dispatcher.enqueue_v1('acme', 'a', '1')",)
_NO_STORING = (*_NO_SQL_ENQUEUE, "SELECT dispatcher.installation_id_v1()")
FORBIDDEN = {
    "producer": (
        *_ALL,
        *_NO_CHANGES,
        *_NO_WEEKS,
        *(f"SELECT FROM dispatcher.{table}" for table in ("events", "deliveries", "webhooks", "accounts", "api_keys")),
        *(f"SELECT FROM dispatcher.{table}" for table in ("idempotency_keys", "installation", "subscriptions")),
        "INSERT INTO dispatcher.accounts (id, name) VALUES (gen_random_uuid(), 'mine')",
        "INSERT INTO dispatcher.deliveries SELECT",
    ),
    "api": (
        *_ALL,
        *_NO_CHANGES,
        *_NO_WEEKS,
        *_NO_SQL_ENQUEUE,
        "SELECT FROM dispatcher.idempotency_keys",
        "INSERT INTO dispatcher.requests SELECT",
    ),
    "workers": (
        *_ALL,
        *_NO_STORING,
        "INSERT INTO dispatcher.webhooks SELECT",
        "INSERT INTO dispatcher.accounts (id, name) VALUES (gen_random_uuid(), 'mine')",
        "INSERT INTO dispatcher.api_keys SELECT",
        "INSERT INTO dispatcher.events SELECT",
    ),
    "readonly": (
        *_ALL,
        *_NO_CHANGES,
        *_NO_WEEKS,
        *_NO_STORING,
        "SELECT FROM dispatcher.idempotency_keys",
        "INSERT INTO dispatcher.audit SELECT",
        "SELECT FROM dispatcher.accounts FOR UPDATE",
    ),
}


def test_every_table_can_be_read_by_workers_and_readers_but_for_a_few() -> None:
    """A new one needs rights, or stands here."""
    tables = {table.name for table in Base.metadata.sorted_tables}
    assert tables - {*ROLES["workers"].reads} == set()
    assert tables - {*ROLES["readonly"].reads} == tables - {*ROLES["api"].reads} == {"idempotency_keys"}


_COLUMN_RIGHTS = """
SELECT c.relname, a.attname, r.kind FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) r(kind)
WHERE c.relnamespace = 'dispatcher'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND has_column_privilege(:role, c.oid, a.attnum, r.kind)
"""
_DELETE_RIGHTS = """
SELECT relname AS table FROM pg_class WHERE relnamespace = 'dispatcher'::regnamespace AND relkind IN ('r', 'p')
  AND has_table_privilege(:role, oid, 'DELETE')
"""


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_rights_of_the_list_on_every_column_and_no_others(owner: Engine, role: str) -> None:
    columns = {table.name: {column.name for column in table.columns} for table in Base.metadata.sorted_tables}
    columns["migrations"] = {"version_num"}
    listed = {(table, column, "SELECT") for table in ROLES[role].reads for column in columns[table]}
    deletes = set()
    for table, rights in ROLES[role].changes.items():
        for right, some in re.findall(r"(\w+)(?: \((.+?)\))?(?:, |$)", rights):
            if right == "DELETE":
                deletes.add(table)
            else:
                listed |= {(table, column, right) for column in (some.split(", ") if some else columns[table])}
    assert {tuple(row) for row in rows(owner, _COLUMN_RIGHTS, role=f"as_{role}")} == listed
    assert {row.table for row in rows(owner, _DELETE_RIGHTS, role=f"as_{role}")} == deletes


# What runs as workers, and writes; what the API has in common with it is tried above.
_OF_WORKERS = (
    *ROOT.glob("workers/**/*.py"),
    *ROOT.glob("dispatcher/db/retention/*.py"),
    ROOT / "dispatcher/db/heartbeat.py",
    ROOT / "dispatcher/db/leases.py",
)
_WRITES = re.compile(
    r"(INSERT INTO|UPDATE|DELETE FROM) dispatcher\.(\w+)(?: AS \w+| \w)?\s+(?:SET\s+(.+?)\s+(?:WHERE|FROM)\b)?",
    re.DOTALL,
)


def test_workers_have_the_rights_for_each_of_their_statements() -> None:
    """So that a statement that no test runs with the role cannot be forgotten."""
    missing, seen = set(), set()
    for path in _OF_WORKERS:
        for verb, table, assigned in _WRITES.findall(path.read_text()):
            right, rights = verb.split()[0], ROLES["workers"].changes.get(table, "")
            seen.add((right, table))
            found = re.search(rf"{right}(?: \((.+?)\))?", rights)
            some = found[1].split(", ") if found and found[1] else None
            if not found or (some and not set(re.findall(r"(\w+) = ", assigned)) <= {*some}):
                missing.add((path.name, right, table))
    assert missing == set()
    assert {("INSERT", "retention"), ("UPDATE", "requests"), ("UPDATE", "deliveries")} <= seen


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_nothing_else(server: Server, owner: Engine, role: str) -> None:
    week = week_of("events", first_id_at(datetime.now(UTC))).name
    allowed = []
    with closing(server.connect(f"as_{role}")) as connection, connection.cursor() as cursor:
        for statement in FORBIDDEN[role]:
            try:
                cursor.execute(f"BEGIN; {statement.format(events=week)}")
                allowed.append(statement)
            except psycopg2.errors.InsufficientPrivilege:
                pass
            finally:
                cursor.execute("ROLLBACK")
    assert allowed == []
