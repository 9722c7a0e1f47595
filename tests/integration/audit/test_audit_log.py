"""The audit log: what an entry tells and never tells, that it stands and falls with its change, how it is read."""

import json
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.actor import ApiKey, Call
from dispatcher.accounts.api_keys import Scope, create_key, revoke_key
from dispatcher.accounts.audit import Action, write
from dispatcher.errors import NameTaken, UrlVerificationFailed
from dispatcher.ids import time_of
from dispatcher.installation import Installation
from dispatcher.receiver_auth.credentials import Basic, Bearer, ClientCredentials
from dispatcher.settings import Settings
from dispatcher.signing.keys import generate_signing_key
from dispatcher.webhooks.registration import change, register
from tests.factories import TESTER, change_webhook, deliver_all, make_account, make_webhook, rows
from tests.factories import change as execute
from tests.integration.api.conftest import Api
from tests.integration.audit.conftest import entries, forget
from tests.integration.cli.conftest import Cli
from tests.integration.workers.test_dump import (
    BEARER,
    CLIENT_ID,
    CLIENT_SECRET,
    CONTRACT,
    CREDENTIALS,
    IN_ENDPOINT,
    IN_PATH,
    PASSWORD,
    QUERY,
    SCOPE,
    SECRETS,
    USERNAME,
)
from tests.planted import found_in
from tests.receiver import Receiver
from tests.waiting import wait_for_a_lock

ROOT = Path(__file__).parents[3]
CONTACT = "planted-contact@example.com"


def planted(settings: Settings, receiver: Receiver) -> dict[str, Any]:
    return {
        "url": receiver.url(f"/hook/{IN_PATH}?{QUERY}"),
        "authorization": Bearer(BEARER),
        "contract": CONTRACT,
        "contact_email": CONTACT,
        "dialect_fields": {"secret": "planted-dialect-field-12"},
        **CREDENTIALS,
    }


def test_no_secret_no_url_and_no_contact_stands_in_it(
    database: Engine, settings: Settings, receiver: Receiver, cli: Cli
) -> None:
    secrets = (*SECRETS, CONTACT, "planted-dialect-field-12")
    fields = planted(settings, receiver)
    tokens = ClientCredentials(receiver.url(f"/token?key={IN_ENDPOINT}"), CLIENT_ID, CLIENT_SECRET, SCOPE)
    plain = {"authorization": None, "headers": {}, "signing_keys": [], "contract": {}, "contact_email": None}
    webhook = make_webhook(database, settings, **fields)
    for changed in (
        {**plain, "url": receiver.url("/plain"), "dialect_fields": {}},
        {**fields, "authorization": Basic(USERNAME, PASSWORD)},
        {"authorization": tokens},
        {"url": receiver.url("/plain")},
    ):
        change_webhook(database, settings, webhook, "update", **changed)
    change_webhook(database, settings, webhook, "update", url=fields["url"])
    change_webhook(
        database, settings, webhook, "rotate_signing_key", new=generate_signing_key(), overlap=timedelta(hours=1)
    )
    cli("webhook", "show", webhook.id, "--reveal")
    change_webhook(database, settings, webhook, "delete")
    with Session(database) as session, session.begin():
        key = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND])
        revoke_key(session, key.id, by=TESTER)
    held = "\n".join(map(str, entries(database)))
    assert len(entries(database)) == 12
    assert found_in(held, [*secrets, key.token.partition(".")[2]]) == []
    printed = cli("audit-log").out + cli("audit-log", "--json").out
    assert found_in(printed, [*secrets, key.token.partition(".")[2]]) == []


def test_a_change_shows_old_and_new_values_and_of_secrets_the_names(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(
        database, settings, url="https://example.com/?key=one", name="first", contract={"timeout_seconds": 10}
    )
    (created,) = [entry for entry in entries(database) if entry.action == "webhook.created"]
    assert created.detail["changed"] == {
        "contract.timeout_seconds": {"old": None, "new": 10},
        "enabled": {"old": None, "new": True},
        "event_types": {"old": None, "new": ["*"]},
        "name": {"old": None, "new": "first"},
        "signing_keys": None,
        "url": {"old": None, "new": "https://example.com/?key=***"},
    }
    forget(database)
    same_secrets = {"headers": {}, "authorization": None}
    change_webhook(
        database,
        settings,
        webhook,
        "update",
        url="https://example.com/?key=two",
        name="second",
        contact_email="ops@example.com",
        contract_changes={"timeout_seconds": None, "circuit_breaker": False},
        event_types=["*"],
        **same_secrets,
    )
    (changed,) = entries(database)
    assert (changed.action, changed.target_id, changed.account_id) == (
        "webhook.changed",
        webhook.id,
        webhook.account_id,
    )
    assert changed.detail["changed"] == {
        "contact_email": None,
        "contract.circuit_breaker": {"old": None, "new": False},
        "contract.timeout_seconds": {"old": 10, "new": None},
        "name": {"old": "first", "new": "second"},
        "url": {"old": "https://example.com/?key=***", "new": "https://example.com/?key=***"},
    }


def test_of_long_values_it_is_kept_only_that_they_changed(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/", event_types=["a"])
    headers = {f"X-{number}": "long " * 400 for number in range(9)}
    for number, long in ((19, False), (100, True)):
        forget(database)
        types = [f"{one:0200}" for one in range(number)]
        contract = {"headers": headers} if long else {"timeout_seconds": 9}
        change_webhook(database, settings, webhook, "update", event_types=types, contract_changes=contract)
        (changed,) = entries(database)
        kept = [name for name, values in changed.detail["changed"].items() if values is not None]
        assert kept == ([] if long else ["event_types", "contract.timeout_seconds"])


def test_so_it_is_of_many_that_are_long_together(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/", event_types=["a"])
    forget(database)
    contract = {"headers": {f"X-{number}": "long " * 400 for number in range(9)}, "timeout_seconds": 9}
    url, types = f"https://example.com/{'x-' * 900}", [f"{one:0200}" for one in range(10)]
    change_webhook(database, settings, webhook, "update", url=url, event_types=types, contract_changes=contract)
    (changed,) = entries(database)
    kept = {name: values for name, values in changed.detail["changed"].items() if values is not None}
    assert list(kept) == ["url", "event_types", "contract.timeout_seconds"]
    assert len(json.dumps(kept)) < 4_200


def test_another_spelling_of_a_url_is_reported(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    forget(database)
    change_webhook(database, settings, webhook, "update", url="HTTPS://Example.com")
    (changed,) = entries(database)
    assert changed.detail["changed"] == {"url": {"old": "https://example.com/", "new": "HTTPS://Example.com"}}


@pytest.mark.parametrize("other", ["https://example.com/?key=%C3%A4#one", "https://example.com/?key=ä#two"])
def test_a_spelling_that_differs_in_what_is_masked_is_reported(
    database: Engine, settings: Settings, other: str
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/?key=ä#one")
    forget(database)
    change_webhook(database, settings, webhook, "update", url=other)
    masked = "https://example.com/?key=***#***"
    (reported,) = entries(database)
    assert reported.detail["changed"] == {"url": {"old": masked, "new": masked}}


def test_a_change_that_changes_nothing_leaves_no_entry_unless_it_closes_a_circuit(
    database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/?key=one", name="first")
    same: dict[str, Any] = {"url": "https://example.com/?key=one", "name": "first", "event_types": ["*"], "headers": {}}
    forget(database)
    change_webhook(database, settings, webhook, "update", **same)
    assert entries(database) == []
    execute(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since) VALUES (:id, 3, now())",
        id=webhook.id,
    )
    change_webhook(database, settings, webhook, "update", **same)
    (entry,) = entries(database)
    assert (entry.action, entry.detail) == ("webhook.changed", {"changed": {}})


def test_a_change_that_is_refused_or_taken_back_leaves_none(
    database: Engine, settings: Settings, receiver: Receiver, installation: Installation
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), name="taken")
    other = make_webhook(database, settings, url=receiver.url("/hook"), name="other")
    forget(database)
    with pytest.raises(UrlVerificationFailed):
        register(
            installation,
            webhook.account_id,
            by=TESTER,
            url=receiver.url("/status/404"),
            event_types=["*"],
            url_verification=True,
        )
    with pytest.raises(NameTaken):
        change(installation, webhook.account_id, other.id, by=TESTER, name="taken")
    with Session(database) as session:
        create_account(session, "globex", by=TESTER)
        session.rollback()
    assert entries(database) == []
    change(installation, webhook.account_id, other.id, by=TESTER, url_verification=True, url=receiver.url("/tested"))
    assert [entry.action for entry in entries(database)] == ["webhook.changed"]  # not for the dry run besides


def test_two_who_revoke_a_key_at_once_leave_one(database: Engine) -> None:
    make_account(database)
    with Session(database) as session, session.begin():
        key = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND])
    forget(database)

    def revoke() -> None:
        with Session(database) as session, session.begin():
            revoke_key(session, key.id, by=TESTER)

    with Session(database) as first, first.begin():
        revoke_key(first, key.id, by=TESTER)
        second = threading.Thread(target=revoke)
        second.start()
        wait_for_a_lock(database)
    second.join(30)
    assert [entry.action for entry in entries(database)] == ["key.revoked"]


def test_a_response_rule_is_noted_once_with_its_request(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    rules = {"410": {"verdict": "rejected", "disable_webhook": True}}
    webhook = make_webhook(database, settings, url=receiver.url("/status/410"), contract={"rules": rules})
    for _ in range(3):
        enqueue("message.sent", 1, account="acme")
    forget(database)
    deliver_all(settings)
    (entry,) = entries(database)
    assert (entry.actor_kind, entry.actor, entry.action) == ("response_rule", "response rule", "webhook.disabled")
    assert (entry.target_id, entry.account_id) == (webhook.id, webhook.account_id)
    assert entry.detail["changed"] == {
        "enabled": {"old": True, "new": False},
        "disabled_reason": {"old": None, "new": "http_410"},
    }
    assert UUID(entry.detail["request"]) in {row.id for row in rows(database, "SELECT id FROM dispatcher.requests")}


def test_what_is_delivered_without_a_change_leaves_none(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    forget(database)
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    assert entries(database) == []


def test_no_code_changes_or_deletes_an_entry() -> None:
    changing = re.compile(
        r"(UPDATE|DELETE FROM|TRUNCATE)\s+dispatcher\.audit\b|\b(update|delete)\(\s*(models\.)?AuditEntry",
        re.IGNORECASE,
    )
    ours = [path for folder in ("dispatcher", "workers", "schedules") for path in (ROOT / folder).rglob("*.py")]
    assert [path for path in ours if changing.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:db8::7%the operator", "2001:db8::7"),
        ("the operator", None),
    ],
)
def test_what_a_proxy_says_of_the_address_is_an_address_or_nothing(
    api: Api, operator: str, database: Engine, forwarded: str, address: str | None
) -> None:
    forget(database)
    made = api.call("POST", "/v1/accounts", {"name": "globex"}, token=operator, headers={"X-Forwarded-For": forwarded})
    assert made.status_code == 201
    assert [entry.address for entry in entries(database)] == [address]


# Reading


@pytest.fixture
def known(database: Engine) -> dict[str, Any]:
    """Five entries, with what they can be found by."""
    make_account(database, "acme")
    make_account(database, "globex")
    forget(database)
    accounts = {row.name: row.id for row in rows(database, "SELECT * FROM dispatcher.accounts")}
    key, request, target = uuid4(), uuid4(), uuid4()
    with Session(database) as session, session.begin():
        by_key = ApiKey(key, Call(request, "192.0.2.7"))
        write(session, by_key, Action.WEBHOOK_CREATED, target, account=accounts["acme"], detail={})
        write(session, TESTER, Action.WEBHOOK_DELETED, target, account=accounts["acme"], detail={})
        write(session, TESTER, Action.WEBHOOK_DELETED, uuid4(), account=accounts["globex"], detail={})
        write(session, TESTER, Action.KEY_REVOKED, uuid4(), account=None, detail={})
        write(session, TESTER, Action.KEY_REVOKED, uuid4(), account=accounts["acme"], detail={"name": "a"})
    return {"key": key, "request": request, "target": target, "ids": [str(entry.id) for entry in entries(database)]}


def filters(known: dict[str, Any]) -> list[tuple[dict[str, str], list[int]]]:
    third = time_of(UUID(known["ids"][2]))
    earlier, later = ((third + timedelta(seconds=seconds)).isoformat() for seconds in (-60, 60))
    return [
        ({}, [4, 3, 2, 1, 0]),
        ({"account": "acme"}, [4, 1, 0]),
        ({"account": "acme", "action": "webhook.deleted"}, [1]),
        ({"actor": "command_line"}, [4, 3, 2, 1]),
        ({"key": str(known["key"])}, [0]),
        ({"action": "key.revoked"}, [4, 3]),
        ({"target": str(known["target"])}, [1, 0]),
        ({"request": str(known["request"])}, [0]),
        ({"since": earlier}, [4, 3, 2, 1, 0]),
        ({"since": later}, []),
        ({"until": earlier}, []),
        ({"until": later}, [4, 3, 2, 1, 0]),
    ]


def test_the_api_filters_it(api: Api, operator: str, database: Engine, known: dict[str, Any]) -> None:
    for asked, found in filters(known):
        answer = api.call("GET", "/v1/audit", token=operator, params=asked | {"account": asked.get("account")})
        listed = [item["id"] for item in answer.json()["items"] if item["action"] != "key.created"]
        assert listed == [known["ids"][place] for place in found], asked


def test_the_command_filters_it(cli: Cli, known: dict[str, Any]) -> None:
    for asked, found in filters(known):
        options = [
            part
            for name, value in asked.items()
            for part in (f"--{name}", value[:19] if name in {"since", "until"} else value)
        ]
        listed = [item["id"] for item in cli("audit-log", "--json", *options).document]
        assert listed == [known["ids"][place] for place in found], asked


def test_both_tell_the_same_of_an_entry(api: Api, cli: Cli, operator: str, known: dict[str, Any]) -> None:
    told = api.call("GET", "/v1/audit", token=operator, params={"key": str(known["key"])}).json()["items"]
    (entry,) = told
    assert entry == {
        "id": known["ids"][0],
        "at": entry["at"],
        "by": f"API key {known['key']}",
        "actor": "api_key",
        "key_id": str(known["key"]),
        "dialect": None,
        "user": None,
        "account": "acme",
        "action": "webhook.created",
        "target_kind": "webhook",
        "target_id": str(known["target"]),
        "detail": {},
        "request_id": str(known["request"]),
        "address": "192.0.2.7",
        "session_id": None,
    }
    (printed,) = cli("audit-log", "--json", "--key", known["key"]).document
    assert printed | {"at": entry["at"]} == entry
    assert known["ids"][0] in cli("audit-log", "--limit", 1, "--key", known["key"]).out


def test_its_pages_follow_one_another(api: Api, cli: Cli, operator: str, known: dict[str, Any]) -> None:
    found, cursor = [], None
    while True:
        page = api.call(
            "GET", "/v1/audit", token=operator, params={"limit": 2, "cursor": cursor, "account": "acme"}
        ).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [known["ids"][place] for place in (4, 1, 0)]
    ran = cli("audit-log", "--limit", 2, "--account", "acme")
    assert f"--before {known['ids'][1]}" in ran.err
    older = cli("audit-log", "--account", "acme", "--before", known["ids"][1], "--json").document
    assert [item["id"] for item in older] == [known["ids"][0]]


def test_only_operators_read_it(api: Api, manager: str, known: dict[str, Any]) -> None:
    assert api.call("GET", "/v1/audit", token=manager).status_code == 403
    assert api.call("GET", "/v1/audit").status_code == 401


def test_what_is_looked_for_and_unknown_is_named(api: Api, operator: str, known: dict[str, Any]) -> None:
    for asked in ({"account": "nobody"}, {"action": "nothing"}, {"actor": "nobody"}, {"key": "no id"}):
        answer = api.call("GET", "/v1/audit", token=operator, params=asked)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, list(asked))


def test_an_entry_of_a_newer_version_is_shown_like_the_others(
    api: Api, cli: Cli, operator: str, database: Engine, known: dict[str, Any]
) -> None:
    newer = {"action": "webhook.mended", "actor_kind": "robot"}
    execute(database, "UPDATE dispatcher.audit SET action = :action, actor_kind = :actor_kind", **newer)
    answer = api.call("GET", "/v1/audit", token=operator)
    assert {(item["action"], item["actor"]) for item in answer.json()["items"]} == {("webhook.mended", "robot")}
    assert "webhook.mended" in cli("audit-log").out
