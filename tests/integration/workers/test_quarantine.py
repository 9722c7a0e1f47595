"""What a webhook's row holds and this version cannot read stops that webhook alone."""

import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, Row

from dispatcher import enqueue
from dispatcher.encryption.vault import Place
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from dispatcher.webhooks.contract import FORMAT
from tests.factories import (
    MESSAGE,
    RECEIVED,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_webhook,
    rows,
)
from tests.installations import installation_for
from tests.receiver import Receiver
from workers.callbacks.targets import Targets
from workers.metrics.counts import Counts
from workers.shared_memory import cells_of

NEWER = FORMAT + 1
SECRET = "planted-secret"
UNREADABLE_SECRETS: list[Any] = [
    {"basic": {"username": SECRET}},
    {"basic": {"username": 5, "password": SECRET}},
    {"basic": SECRET},
    {"basic": {"username": "\ud800", "password": SECRET}},
    {"bearer": {"token": f"{SECRET}\r\nX-Injected: 1"}},
    {"client_credentials": {"endpoint": "https://a.example/", "client_id": "a", "client_secret": SECRET}}
    | {"client_credentials": {"token_request": SECRET}},
    {"signing_keys": SECRET},
    {"signing_keys": [SECRET]},
    {"signing_keys": [{"secret": f"whsx_{SECRET}"}]},
    {"signing_keys": [{"secret": "whsec_c2VjcmV0", "until": None}]},
    {"signing_keys": [{"secret": "whsec_" + "c2VjcmV0" * 4, "until": "soon"}]},
    {"signing_keys": [{"secret": "whsec_" + "c2VjcmV0" * 4, "until": "2026-01-01T00:00:00"}]},
    {"headers": {"X-A": f"{SECRET}\r\nX-B: 1"}},
    {"headers": {SECRET + " ": "a"}},
    {"headers": [SECRET]},
    {"body_secret": 5},
    [],
    SECRET,
    None,
]
UNREADABLE_CONTRACTS: list[Any] = [
    {"schedule": "fortnightly"},
    {"method": "BREW"},
    {"rules": {"404": {"verdict": "perhaps"}}},
    {"rules": []},
    {"timeout_seconds": 1e300},
    {"batch_size": 0},
    {"members": [["a", "b", "c"]]},
    [],
    "text",
    None,
]
# PostgreSQL stores numbers that Python does not read.
UNREADABLE_JSON = [f'{{"timeout_seconds": 1{"0" * 5_000}}}']


def put(database: Engine, settings: Settings, webhook: UUID, **columns: Any) -> None:
    """Writes columns directly; `secrets` and `url` are encrypted, `contract` is JSON."""
    vault = installation_for(settings).vault
    if "secrets" in columns:
        columns["secrets_ciphertext"] = vault.encrypt(
            json.dumps(columns.pop("secrets")), Place("webhooks", "secrets_ciphertext", webhook)
        )
    if "url" in columns:
        columns["url_ciphertext"] = vault.encrypt(columns.pop("url"), Place("webhooks", "url_ciphertext", webhook))
    given = ", ".join(
        f"{name} = {'CAST(:contract AS jsonb)' if name == 'contract' else ':' + name}" for name in columns
    )
    change(
        database, f"UPDATE dispatcher.webhooks SET {given}, version = version + 1 WHERE id = :id", id=webhook, **columns
    )


def quarantined(database: Engine) -> list[Row[Any]]:
    return rows(
        database,
        "SELECT id, quarantined_at, quarantined_reason AS reason FROM dispatcher.webhooks"
        " WHERE quarantined_at IS NOT NULL",
    )


def test_members_that_this_version_does_not_know_are_passed_over(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    rule = {"verdict": "acknowledged", "with_care": True}
    put(
        database,
        settings,
        webhook.id,
        contract=json.dumps({"compress": "zstd", "rules": {"404": rule}}),
        secrets={
            "basic": {"username": "a", "password": "b", "realm": "c"},
            "signing_keys": [{"secret": "whsec_" + "c2VjcmV0" * 4, "until": None, "label": "new"}],
            "mutual_tls": None,
        },
    )
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings)["delivered"] == 1
    (callback,) = receiver.received
    assert callback.header("Authorization") == "Basic YTpi"
    assert callback.header("webhook-signature")
    assert quarantined(database) == []


def test_a_row_that_cannot_be_read_is_quarantined_alone_and_taken_up_once_it_changes(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    make_webhook(database, settings, url=receiver.url("/good"))
    odd: list[dict[str, Any]] = [{"secrets": document} for document in UNREADABLE_SECRETS]
    odd += [{"contract": json.dumps(document)} for document in UNREADABLE_CONTRACTS]
    odd += [{"contract": text} for text in UNREADABLE_JSON]
    odd += [
        {"url_ciphertext": None},
        {"url_ciphertext": b"x"},
        {"secrets_ciphertext": b""},
        {"url_given_ciphertext": b"x"},
    ]
    odd += [{"url": url} for url in (SECRET, f"https://{SECRET}:99999/", "http://[::", f"https://a\n{SECRET}/", "")]
    broken = [make_webhook(database, settings, url=receiver.url("/odd")).id for _ in odd]
    for webhook, columns in zip(broken, odd, strict=True):
        put(database, settings, webhook, **columns)
    for _ in range(2):
        enqueue(RECEIVED, MESSAGE, account="acme")
        assert deliver_all(settings)["delivered"] == 1

    found = {row.id: row.reason for row in quarantined(database)}
    assert found.keys() == set(broken), [columns for id_, columns in zip(broken, odd, strict=True) if id_ not in found]
    assert all(0 < len(reason) <= 200 for reason in found.values())
    assert not [reason for reason in found.values() if SECRET in reason or "Traceback" in reason]
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    waiting = [row for row in deliveries(database) if row.webhook_id in found]
    assert {(row.state, row.attempt_count, row.schedule_step) for row in waiting} == {("ready", 0, 0)}
    assert len(waiting) == 2 * len(odd)
    assert printed.out.count("webhook quarantined") == len(odd)

    for webhook in broken:
        put(database, settings, webhook, contract="{}", secrets={}, url=receiver.url("/odd"), url_given_ciphertext=None)
    change(database, "UPDATE dispatcher.webhooks SET quarantined_at = NULL, quarantined_reason = NULL")
    assert deliver_all(settings)["delivered"] == 2 * len(odd)
    assert len(receiver.received) == 2 + 2 * len(odd)


def test_a_change_ends_the_quarantine(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    put(database, settings, webhook.id, contract='{"schedule": "fortnightly"}')
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings)["delivered"] == 0
    assert len(quarantined(database)) == 1
    change_webhook(database, settings, webhook, "update", contract_changes={"schedule": "hour"})
    assert quarantined(database) == []
    assert deliver_all(settings)["delivered"] == 1


def test_a_change_by_others_at_that_moment_is_not_quarantined(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    put(database, settings, webhook.id, contract='{"schedule": "fortnightly"}')
    targets = _targets(settings)
    with database.begin() as connection:
        row = connection.exec_driver_sql("SELECT id::text, version FROM dispatcher.webhooks").one()
        with database.begin() as other:
            other.exec_driver_sql("SELECT 1 FROM dispatcher.webhooks FOR UPDATE").all()
            assert targets.load(connection, {row.id: row.version}) == {}  # it does not wait for the other
    assert quarantined(database) == []
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    assert len(quarantined(database)) == 1


def _targets(settings: Settings) -> Targets:
    installation = installation_for(settings)
    return Targets(installation.vault, installation.timing, Counts(cells_of(0)))


def test_a_newer_format_waits_for_newer_workers_and_uses_no_step(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/good"))
    newer = make_webhook(database, settings, url=receiver.url("/newer"), authorization=Basic("a", "b"))
    put(database, settings, newer.id, format=NEWER, contract='{"schedule": "fortnightly"}')
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings) == {"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}
    (waiting,) = [row for row in deliveries(database) if row.webhook_id == newer.id]
    assert (waiting.state, waiting.attempt_count, waiting.schedule_step) == ("ready", 0, 0)
    assert quarantined(database) == []
    put(database, settings, newer.id, format=FORMAT, contract="{}")  # as if this were the newer worker
    assert deliver_all(settings)["delivered"] == 1


def test_each_write_of_contract_or_secrets_says_its_format(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))

    def written() -> int:
        return int(rows(database, "SELECT format FROM dispatcher.webhooks")[0].format)

    assert written() == FORMAT
    changes: list[dict[str, Any]] = [{"contract_changes": {"schedule": "hour"}}, {"headers": {"X-A": "b"}}]
    for fields in changes:
        put(database, settings, webhook.id, format=FORMAT - 1)
        change_webhook(database, settings, webhook, "update", **fields)
        assert written() == FORMAT, fields
    put(database, settings, webhook.id, format=FORMAT - 1)
    change_webhook(database, settings, webhook, "update", name="other")
    assert written() == FORMAT - 1
