"""`dispatcher delivery` and `dispatcher event`: what was sent, sent again, cancelled."""

import json

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.db.models import Webhook
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from tests.behaviours import Answer, Received
from tests.factories import change, change_webhook, deliver_all, deliveries, make_account, make_webhook
from tests.integration.cli.conftest import Cli
from tests.integration.workers.tokens.token_server import TokenServer
from tests.receiver import Receiver

TOKEN = "9f8e7d6c5b4a39281706"
PASSWORD = "correct-horse-1"
PATH = f"/{TOKEN}"


@pytest.fixture
def webhook(database: Engine, settings: Settings, receiver: Receiver) -> Webhook:
    return make_webhook(
        database, settings, url=receiver.url(f"{PATH}?key={TOKEN}"), name="main", authorization=Basic("user", PASSWORD)
    )


def test_a_delivery_shows_its_attempts_with_what_was_sent_and_answered(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, receiver: Receiver
) -> None:
    receiver.script(PATH, Answer(503, headers=(("X-Why", "busy"),), body=b"come back"))
    enqueue("message.sent", {"id": 1}, account="acme", subject="msg-1")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    shown = cli("delivery", "show", delivery.id, "--json").document
    assert shown["account"] == "acme"
    assert shown["delivery"]["state"] == "waiting"
    assert shown["event"]["subject"] == "msg-1"
    (attempt,) = shown["attempts"]
    assert (attempt["number"], attempt["status"], attempt["verdict"]) == (1, 503, "temporary")
    assert attempt["answer_excerpt"] == "come back"
    assert "X-Why: busy" in attempt["answer_headers"]
    assert "Authorization: Basic ***" in attempt["headers"]
    text = cli("delivery", "show", delivery.id)
    for part in ("waiting", "msg-1", "503", "come back", "X-Why: busy", "Attempt 1"):
        assert part in text.out


def test_a_delivery_shows_the_request_whose_token_was_refused(
    cli: Cli, settings: Settings, database: Engine, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=TokenServer(receiver).credentials())
    receiver.script("/hook", Answer(401, body=b"which token?"), Answer(503, body=b"busy"))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    (attempt,) = cli("delivery", "show", delivery.id, "--json").document["attempts"]
    assert (attempt["status"], attempt["answer_excerpt"]) == (503, "busy")
    assert (attempt["refused"]["status"], attempt["refused"]["answer_excerpt"]) == (401, "which token?")
    text = cli("delivery", "show", delivery.id).out
    assert text.index("its token was refused") < text.index("which token?") < text.index("busy")


def test_what_an_answer_to_a_refused_token_repeats_of_the_message_is_masked(
    cli: Cli, settings: Settings, database: Engine, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=TokenServer(receiver).credentials())
    receiver.script("/hook", Answer(401, body=b"no token for 27001234567"), Answer(503))
    enqueue("message.sent", {"to": "27001234567"}, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    assert "no token for ***" in cli("delivery", "show", delivery.id).out
    assert "no token for 27001234567" in cli("delivery", "show", delivery.id, "--reveal").out


def test_no_secret_of_a_webhook_is_shown_with_its_deliveries(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook
) -> None:
    event_id = enqueue("message.sent", {"id": 1}, account="acme").event_id
    deliver_all(settings)
    (delivery,) = deliveries(database)
    for arguments in (
        ("delivery", "list", "--account", "acme"),
        ("delivery", "show", delivery.id),
        ("event", "show", event_id),
        ("event", "list", "--account", "acme"),
        ("delivery", "redeliver", delivery.id),
    ):
        for form in ((), ("--json",)):
            ran = cli(*arguments, *form)
            assert TOKEN not in ran.out + ran.err, arguments
            assert PASSWORD not in ran.out + ran.err, arguments


def test_an_answer_cannot_steer_the_terminal(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, receiver: Receiver
) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x9b"
    receiver.script(PATH, Answer(400, body=hostile.encode()))
    enqueue("message.sent", {"text": "\u202e"}, account="acme", subject="\x1b[31m")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    for arguments in (
        ("delivery", "show", delivery.id),
        ("delivery", "list", "--account", "acme"),
        ("event", "show", delivery.event_id),
    ):
        for form in ((), ("--json",)):
            ran = cli(*arguments, *form)
            assert ran.status == 0
            assert not set(ran.out) & {"\x1b", "\x07", "\u202e", "\x9b"}
    assert cli("delivery", "show", delivery.id, "--json").document["attempts"][0]["answer_excerpt"] == hostile
    assert r"\x1b]0;owned" in cli("delivery", "show", delivery.id).out


def test_deliveries_are_listed_by_state_reason_webhook_and_event(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, receiver: Receiver
) -> None:
    receiver.script(PATH, Answer(200), Answer(404), Answer(500))
    events = []
    for number in range(3):
        events.append(enqueue("message.sent", number, account="acme").event_id)
        deliver_all(settings)
    quiet = make_webhook(database, settings, url="https://example.com/", name="quiet")

    def listed(*arguments: object) -> list[str]:
        return [item["event_id"] for item in cli("delivery", "list", *arguments, "--json").document]

    delivered, rejected, waiting = map(str, events)
    assert listed("--account", "acme") == [waiting, rejected, delivered]
    assert listed("--account", "acme", "--state", "delivered") == [delivered]
    assert listed("--account", "acme", "--reason", "rejected") == [rejected]
    assert listed("--webhook", webhook.id) == [waiting, rejected, delivered]
    assert listed("--webhook", quiet.id) == []
    assert listed("--event", waiting) == [waiting]
    first = cli("delivery", "list", "--account", "acme", "--limit", 2, "--json").document
    assert listed("--account", "acme", "--before", first[-1]["id"]) == [delivered]
    assert cli("delivery", "list").status == 2


def test_the_deliveries_of_a_deleted_webhook_stay_listed(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook
) -> None:
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    change_webhook(database, settings, webhook, "delete")
    (listed,) = cli("delivery", "list", "--webhook", webhook.id, "--json").document
    assert listed["state"] == "delivered"
    refused = cli("delivery", "redeliver", listed["id"])
    assert (refused.status, "was deleted" in refused.err) == (1, True)


def test_a_redelivery_wakes_the_workers_and_is_sent_with_the_next_number(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, receiver: Receiver
) -> None:
    receiver.script(PATH, Answer(404), Answer(200))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    broker = redis.Redis.from_url(settings.broker_url.get_secret_value())
    broker.flushall()
    (delivery,) = deliveries(database)
    ran = cli("delivery", "redeliver", delivery.id)
    assert (ran.status, ran.out) == (0, f"delivery {delivery.id} is due again\n")
    assert broker.llen("deliver") == 1
    broker.close()
    deliver_all(settings)
    assert [received.header("Dispatcher-Attempt") for received in receiver.received] == ["1", "2"]
    assert cli("delivery", "show", delivery.id, "--json").document["delivery"]["state"] == "delivered"


def test_a_cancelled_delivery_is_not_sent(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, receiver: Receiver
) -> None:
    enqueue("message.sent", 1, account="acme")
    (delivery,) = deliveries(database)
    assert cli("delivery", "cancel", delivery.id).status == 0
    deliver_all(settings)
    assert receiver.received == []
    again = cli("delivery", "cancel", delivery.id)
    assert (again.status, again.err) == (
        1,
        "Error: the delivery is cancelled already: only an open one can be cancelled\n",
    )


def test_a_delivery_under_way_is_not_cancelled(cli: Cli, database: Engine, webhook: Webhook) -> None:
    enqueue("message.sent", 1, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET state = 'claimed', claimed_until = now() + interval '1 min'")
    (delivery,) = deliveries(database)
    ran = cli("delivery", "cancel", delivery.id)
    assert ran.status == 1
    assert "an attempt of the delivery is being made at this moment" in ran.err


def test_an_event_is_shown_with_its_message_as_it_was_given(cli: Cli, webhook: Webhook) -> None:
    data = b'{"id": 123456789012345678901234567890, "rate": 1.10, "text": "na\xc3\xafve"}'
    event_id = enqueue("message.sent", data, account="acme", subject="msg-1").event_id
    shown = cli("event", "show", event_id, "--json", "--reveal")
    assert '"id": 123456789012345678901234567890, "rate": 1.10' in shown.out
    document = shown.document
    assert document["data"] == json.loads(data)
    assert [delivery["webhook_name"] for delivery in document["deliveries"]] == ["main"]
    shown = cli("event", "show", event_id, "--reveal").out
    assert data.decode() in shown
    labels = [line[:10].strip() for line in shown.partition("\nMessage")[0].splitlines()]
    assert labels == ["account", "id", "type", "app", "subject", "occurred", "created", "expires", "webhooks", "trace"]


@pytest.mark.parametrize("options", [(), ("--reveal",), ("--json",)])
def test_an_event_whose_message_is_no_text_is_shown_all_the_same(
    cli: Cli, database: Engine, webhook: Webhook, options: tuple[str, ...]
) -> None:
    event_id = enqueue("message.sent", {"id": "7"}, account="acme").event_id
    change(database, "UPDATE dispatcher.events SET data = :data", data=b'\xff\x00{"id')
    shown = cli("event", "show", event_id, *options)
    assert shown.status == 0
    assert '{"id' in shown.out
    assert "main" in shown.out  # its deliveries come after or before it


MESSAGE = {"id": "17", "to": "+27001234567", "body": "secret words", "parts": [{"From": 27831112222}]}
HIDDEN = ("27001234567", "secret words", "27831112222")


def echo(received: Received) -> Answer:
    """A receiver that answers with what it got."""
    return Answer(400, (("X-Number", "+27001234567"),), b"cannot take " + received.body + b" for 27831112222")


def test_chosen_members_of_a_message_are_masked_wherever_it_is_shown_and_sent_as_they_are(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, receiver: Receiver
) -> None:
    receiver.script(PATH, echo)
    event_id = enqueue("message.sent", MESSAGE, account="acme").event_id
    deliver_all(settings)
    (delivery,) = deliveries(database)
    for arguments in (("event", "show", event_id), ("delivery", "show", delivery.id)):
        for form in ((), ("--json",)):
            masked, clear = cli(*arguments, *form).out, cli(*arguments, *form, "--reveal").out
            assert not [value for value in HIDDEN if value in masked], arguments
            assert not [value for value in HIDDEN if value not in clear], arguments
    assert cli("event", "show", event_id, "--json").document["data"] == {
        **MESSAGE,
        "to": "***",
        "body": "***",
        "parts": [{"From": "***"}],
    }
    (attempt,) = cli("delivery", "show", delivery.id, "--json").document["attempts"]
    assert attempt["answer_excerpt"] == (
        'cannot take [{"id":"17","to":"***","body":"***","parts":[{"From":"***"}]}] for ***'
    )
    assert "X-Number: ***" in attempt["answer_headers"]
    assert receiver.received[0].json() == [MESSAGE]


def test_what_is_masked_can_be_chosen(
    cli: Cli,
    settings: Settings,
    database: Engine,
    webhook: Webhook,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.script(PATH, echo)
    event_id = enqueue("message.sent", MESSAGE, account="acme").event_id
    deliver_all(settings)
    (delivery,) = deliveries(database)
    for names, hidden in (("", set()), ("TO", {"27001234567"})):
        monkeypatch.setenv("DISPATCHER_MASKED_MEMBERS", names)
        for arguments in (("event", "show", event_id), ("delivery", "show", delivery.id)):
            assert {value for value in HIDDEN if value not in cli(*arguments).out} == hidden


def test_the_answer_to_a_batch_may_repeat_any_of_its_messages_and_is_not_shown_unasked(
    cli: Cli, settings: Settings, database: Engine, receiver: Receiver
) -> None:
    receiver.script("/batch", Answer(500, body=b"cannot take 27001234567"))
    make_webhook(database, settings, url=receiver.url("/batch"), contract={"batch_size": 2})
    for number in ("27001234567", "27830000000"):
        enqueue("message.sent", {"to": number}, account="acme")
    deliver_all(settings)
    assert len(receiver.received) == 1
    for delivery in deliveries(database):
        (attempt,) = cli("delivery", "show", delivery.id, "--json").document["attempts"]
        assert (
            attempt["answer_excerpt"] == attempt["answer_headers"] == "*** (the answer to a batch: --reveal shows it)"
        )
        assert "27001234567" in cli("delivery", "show", delivery.id, "--reveal").out


def test_events_are_listed_by_subject_type_and_what_no_webhook_took(
    cli: Cli, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="https://example.com/", event_types=["message"])
    sent = str(enqueue("message.sent", 1, account="acme", subject="a").event_id)
    failed = str(enqueue("message.failed", 1, account="acme", subject="a").event_id)
    other = str(enqueue("messages", 1, account="acme", subject="b").event_id)

    def listed(*arguments: object) -> list[str]:
        return [item["id"] for item in cli("event", "list", "--account", "acme", *arguments, "--json").document]

    assert listed() == [other, failed, sent]
    assert listed("--subject", "a") == [failed, sent]
    assert listed("--type", "message") == [failed, sent]
    assert listed("--type", "message.sent") == [sent]
    assert listed("--undelivered") == [other]
    assert listed("--limit", 1) == [other]
    assert listed("--before", failed) == [sent]
    assert listed("--since", "2020-01-01") == [other, failed, sent]
    assert listed("--until", "2020-01-01T10:00:00") == []


def test_what_is_another_accounts_is_not_found(cli: Cli, database: Engine, webhook: Webhook) -> None:
    event_id = enqueue("message.sent", 1, account="acme").event_id
    make_account(database, "other")
    (delivery,) = deliveries(database)
    for command in (("delivery", "show"), ("delivery", "redeliver"), ("delivery", "cancel")):
        ran = cli(*command, delivery.id, "--account", "other")
        assert (ran.status, ran.err) == (1, f"Error: there is no delivery '{delivery.id}'\n")
    assert cli("event", "show", event_id, "--account", "other").status == 1
    assert cli("event", "list", "--account", "other", "--json").document == []
    assert cli("delivery", "list", "--account", "other", "--event", event_id, "--json").document == []
    assert deliveries(database)[0].state == "ready"
