"""`dispatcher trigger`, `dispatcher notice` and `dispatcher webhook health`."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.events.samples import sample_message
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import MESSAGE, RECEIVED, deliver_all, deliveries, make_account, make_webhook, rows
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver


@pytest.mark.parametrize("event_type", [RECEIVED, "message.outbound.delivered", "conversation.opt_in"])
def test_a_sample_goes_to_every_webhook_that_takes_its_type(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver, event_type: str
) -> None:
    make_webhook(database, settings, url=receiver.url("/takes"), event_types=[event_type])
    make_webhook(database, settings, url=receiver.url("/other"), event_types=["other"])
    told = cli("trigger", event_type, "--account", "acme", "--json").document
    deliver_all(settings)
    (callback,) = receiver.received
    assert told == {"event_id": callback.header("Dispatcher-Event-Id"), "deliveries": 1, "nearest_types": []}
    assert json.loads(callback.body) == [sample_message(event_type)]
    assert (callback.path, callback.header("Dispatcher-Event-Type")) == ("/takes", event_type)


def test_a_test_event_goes_to_one_webhook_whatever_it_takes(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/one"), event_types=["other"])
    make_webhook(database, settings, url=receiver.url("/two"))
    message = tmp_path / "message.json"
    message.write_bytes(b'{"id": 634151298329219072}')
    ran = cli("trigger", RECEIVED, "--webhook", webhook.id, "--data", message)
    assert ran.out.endswith(": 1 delivery\n"), ran.err
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.path, callback.body) == ("/one", b'[{"id": 634151298329219072}]')


def test_as_many_as_are_asked_for_are_sent_each_with_an_entry_in_the_audit_log(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/"), event_types=[RECEIVED])
    told = cli("trigger", RECEIVED, "--account", "acme", "--count", "3", "--json").document
    told += cli(
        "trigger", "other", "--webhook", webhook.id, "--count", "2", "--data", "-", "--json", stdin=b"7"
    ).document
    assert [one["deliveries"] for one in told] == [1] * 5
    assert len(cli("trigger", RECEIVED, "--account", "acme", "--count", "2").out.splitlines()) == 2
    assert len(cli("trigger", RECEIVED, "--account", "acme", "--count", "1", "--json").document) == 1
    deliver_all(settings)
    got = [callback.header("Dispatcher-Event-Id") for callback in receiver.received]
    assert len(got) == 8
    assert set(got) >= {one["event_id"] for one in told}
    found = rows(database, "SELECT action, count(*) FROM dispatcher.audit GROUP BY action")
    assert {"event.triggered": 6, "webhook.tested": 2}.items() <= {row[0]: row[1] for row in found}.items()
    assert cli("trigger", RECEIVED, "--account", "acme", "--count", "0").status == 2


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((RECEIVED,), 2),
        (("no type!", "--account", "acme"), 2),
        ((RECEIVED, "--account", "acme", "--data", "no-such-file"), 2),
        ((RECEIVED, "--account", "nobody"), 1),
        ((RECEIVED, "--webhook", "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"), 1),
    ],
)
def test_what_cannot_be_sent_is_said_in_one_error(
    cli: Cli, database: Engine, arguments: tuple[str, ...], status: int
) -> None:
    make_account(database)
    ran = cli("trigger", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert deliveries(database) == []


def test_notices_are_listed_with_what_was_sent(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(503))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), contact_email="ops@example.com")
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (notice,) = cli("notice", "list", "--account", "acme", "--json").document
    assert (notice["webhook"], notice["kind"], notice["error"]) == (str(webhook.id), "message_retrying", "http_503")
    assert (notice["contact"], notice["sent"], notice["last_sent_at"]) == ("ops@example.com", 0, None)
    assert "http_503" in cli("notice", "list", "--account", "acme").out
    health = cli("webhook", "health", webhook.id, "--json").document
    assert (health["circuit"], health["last_answer"], health["deliveries"]["waiting"]) == ("closed", 503, 1)
    assert "1 waiting" in cli("webhook", "health", webhook.id).out
    make_account(database, "other")
    assert cli("webhook", "health", webhook.id, "--account", "other").status == 1
    assert cli("notice", "list", "--account", "acme", "--kind", "webhook_disabled", "--json").document == []


def test_a_type_that_no_webhook_takes_is_pointed_out_with_the_nearest(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/"), event_types=["message.outbound.sent"])
    hint = "Hint: no webhook of account 'acme' takes mesage.outbound.sent; the nearest: message.outbound.sent\n"
    ran = cli("trigger", "mesage.outbound.sent", "--account", "acme", "--json")
    assert (ran.document["deliveries"], ran.document["nearest_types"]) == (0, ["message.outbound.sent"])
    assert ran.err == hint
    ran = cli("enqueue", "--account", "acme", "--type", "mesage.outbound.sent", "-", stdin=b"1\n2\n")
    assert (ran.status, ran.err) == (0, hint)
    ran = cli("enqueue", "--account", "acme", "--app", "crm", "--type", "invoice.paid", "--json", "-", stdin=b"1")
    assert ran.document["nearest_types"] == []
    assert ran.err == "Hint: no webhook of account 'acme' and app 'crm' takes invoice.paid\n"


def test_a_misspelt_type_that_a_webhook_takes_all_the_same_is_pointed_out(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/"), event_types=["*"])
    hint = "Hint: mesage.outbound.sent looks like a misspelling of message.outbound.sent\n"
    for given in (("--account", "acme"), ("--webhook", webhook.id)):
        ran = cli("trigger", "mesage.outbound.sent", *given, "--json")
        assert (ran.document["deliveries"], ran.err) == (1, hint)
    ran = cli("enqueue", "--account", "acme", "--type", "mesage.outbound.sent", "-", stdin=b"1\n2\n")
    assert (ran.status, ran.err) == (0, hint)
    assert cli("trigger", "message.outbound.sent", "--account", "acme").err == ""
    assert cli("trigger", "invoice.paid", "--account", "acme").err == ""
