"""`dispatcher explain`: in sentences, why something is where it is, what happens next, and what to type."""

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.db.models import Webhook
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import change, change_webhook, deliver_all, deliveries, make_account, make_webhook, rows
from tests.hostile_values import TEXTS, steering
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver

SECRET = "9f8e7d6c5b4a39281706"


@pytest.fixture
def webhook(database: Engine, settings: Settings, receiver: Receiver) -> Webhook:
    return make_webhook(database, settings, url=receiver.url(f"/{SECRET}?key={SECRET}"), name="main")


def test_a_delivery_that_waits_is_explained_with_what_to_type(
    cli: Cli, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    receiver.script(f"/{SECRET}", Answer(503))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    shown = cli("explain", delivery.id)
    assert shown.status == 0
    head, retry, attempt, _, can = shown.out.splitlines()
    assert head == f"Delivery {delivery.id} of account acme: waiting, message.sent to main"
    assert retry.startswith("Retry 1 of 196 is due at ")
    assert "the receiver answered 503" in attempt
    assert can.endswith(f"`dispatcher delivery cancel {delivery.id}` and `dispatcher delivery redeliver {delivery.id}`")
    document = cli("explain", delivery.id, "--json").document
    assert (document["kind"], document["account"], document["state"]) == ("delivery", "acme", "waiting")
    said = document["explanation"][0]
    assert (said["code"], said["parameters"]["retry"], said["parameters"]["retries"]) == ("retry_due", 1, 196)


def test_showing_a_delivery_ends_with_its_explanation(cli: Cli, database: Engine, webhook: Webhook) -> None:
    enqueue("message.sent", 1, account="acme")
    (delivery,) = deliveries(database)
    block = cli("delivery", "show", delivery.id).out.partition("\nExplanation\n")[2]
    assert block.endswith(f"It can be cancelled: `dispatcher delivery cancel {delivery.id}`\n")
    said = cli("delivery", "show", delivery.id, "--json").document["explanation"]
    assert [sentence["code"] for sentence in said] == ["nothing_delivers", "in_turn", "can_cancel"]


def test_an_event_is_explained_with_each_of_its_deliveries_page_by_page(
    cli: Cli, database: Engine, settings: Settings, webhook: Webhook
) -> None:
    change_webhook(database, settings, webhook, "disable", reason="moving house")
    for _ in range(2):
        make_webhook(database, settings, url="https://example.com/")
    event = enqueue("message.sent", 1, account="acme").event_id
    shown = cli("explain", event).out
    assert "3 webhooks took it when it was stored; its deliveries: 3 ready." in shown
    assert shown.count("\nDelivery ") == 3
    assert "by command line (“moving house”)" in shown
    first = cli("explain", event, "--limit", 2, "--json").document
    second = cli("explain", event, "--limit", 2, "--before", first["before"], "--json").document
    seen = [one["id"] for one in (*first["deliveries"], *second["deliveries"])]
    newest_webhook_first = sorted(deliveries(database), key=lambda one: one.webhook_id, reverse=True)
    assert seen == [str(one.id) for one in newest_webhook_first]
    assert second["before"] is None
    assert f"--before {first['before']}" in cli("explain", event, "--limit", 2).err


def test_an_event_that_no_webhook_took_is_explained_by_what_each_takes(
    cli: Cli, database: Engine, settings: Settings
) -> None:
    make_account(database)
    alone = enqueue("message.sent", 1, account="acme").event_id
    shown = cli("explain", alone).out
    assert "No webhook took it, because the account has none. Nothing is sent." in shown
    assert "send-again" not in shown
    make_webhook(database, settings, url="https://example.com/", name="types", event_types=["message.inbound.received"])
    make_webhook(database, settings, url="https://example.com/", name="app", event_types=["message"], app="shop")
    event = enqueue("message.inbound.recieved", 1, account="acme", app="office").event_id
    make_webhook(database, settings, url="https://example.com/", name="later", event_types=["message"])
    shown = cli("explain", event).out
    assert "No webhook took it when it was stored: none took type message.inbound.recieved and app “office”" in shown
    assert "Webhook “types” takes message.inbound.received." in shown
    assert "Webhook “app” takes message, but only of app “shop”." in shown
    assert "Webhook “later” takes message, but was made later, at " in shown
    other = enqueue("mesage.inbound.received", 1, account="acme").event_id
    shown = cli("explain", other).out
    assert "The most similar ones: message.inbound.received" in shown
    assert f"all the same: `dispatcher event send-again {other} --webhook NAME`" in shown
    assert "Nothing is sent." in shown
    cli("event", "send-again", other, "--webhook", "later")
    shown = cli("explain", other).out
    assert "Since then it was sent to 1 webhook: 1 ready." in shown
    assert "Nothing is sent." not in shown


def test_only_some_of_very_many_webhooks_are_told_of(cli: Cli, database: Engine, settings: Settings) -> None:
    for number in range(21):
        make_webhook(database, settings, url="https://example.com/", name=f"w{number}", event_types=["a"])
    event = enqueue("b", 1, account="acme").event_id
    codes = [sentence["code"] for sentence in cli("explain", event, "--json").document["explanation"]]
    assert (codes.count("takes_other_types"), codes.count("more_webhooks")) == (20, 1)


def test_a_webhook_is_explained_also_when_it_is_deleted(
    cli: Cli, database: Engine, settings: Settings, webhook: Webhook
) -> None:
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    shown = cli("explain", webhook.id).out
    for part in (
        f"Webhook {webhook.id} of account acme: main\n",
        "The webhook is enabled, and its circuit is closed",
        "the receiver answered 200",
        "No delivery to it is open.",
        "It has no contact",
    ):
        assert part in shown
    change(database, "UPDATE dispatcher.webhooks SET quarantined_at = now(), quarantined_reason = 'odd'")
    shown = cli("explain", webhook.id).out
    assert "because it cannot be read (“odd”)" in shown
    assert f"`dispatcher webhook release {webhook.id}`" in shown
    change_webhook(database, settings, webhook, "delete")
    assert "The webhook was deleted at " in cli("explain", webhook.id).out


def test_of_a_suspended_account_it_says_how_to_resume_it(cli: Cli, database: Engine, webhook: Webhook) -> None:
    enqueue("message.sent", 1, account="acme")
    cli("account", "suspend", "acme")
    shown = cli("explain", deliveries(database)[0].id).out
    assert "The account has been suspended since " in shown
    assert "however long that takes" in shown
    assert "`dispatcher account resume acme`" in shown


def test_who_cancelled_a_delivery_is_told(cli: Cli, database: Engine, webhook: Webhook) -> None:
    enqueue("message.sent", 1, account="acme")
    (delivery,) = deliveries(database)
    cli("delivery", "cancel", delivery.id)
    said = cli("explain", delivery.id).out
    assert "It was cancelled at " in said
    assert ", by command line: nothing more is sent." in said
    change(database, "DELETE FROM dispatcher.audit")
    assert ", by a person: nothing more is sent." in cli("explain", delivery.id).out


def test_a_request_leads_to_its_deliveries(cli: Cli, database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), name="many", contract={"batch_size": 5})
    for _ in range(2):
        enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (request,) = rows(database, "SELECT id FROM dispatcher.requests")
    shown = cli("explain", request.id)
    assert shown.out.startswith(f"Request {request.id} of account acme: 2 messages to many\n")
    assert shown.out.count("It was delivered at ") == 2
    document = cli("explain", request.id, "--json").document
    assert [one["id"] for one in document["deliveries"]] == [str(one.id) for one in deliveries(database)]
    change(database, "DELETE FROM dispatcher.deliveries")
    gone = cli("explain", request.id)
    assert (gone.status, "dispatcher explain" in gone.err) == (1, True)


def test_an_unknown_id_is_refused_in_one_line(cli: Cli, webhook: Webhook) -> None:
    unknown = new_id()
    ran = cli("explain", unknown)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"Error: there is no event, delivery, webhook or request '{unknown}'\n"


def test_no_secret_is_told_and_nothing_that_others_wrote_steers_the_terminal(
    cli: Cli, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    receiver.script(f"/{SECRET}", Answer(400, body=TEXTS["title"].encode()))
    event = enqueue("message.sent", {"text": SECRET}, account="acme", subject=TEXTS["bidi"]).event_id
    deliver_all(settings)
    why = f"{TEXTS['clear screen']}{TEXTS['bidi']} https://user:{SECRET}@example.com/"
    change(
        database, "UPDATE dispatcher.webhooks SET enabled = false, disabled_by = :why, disabled_reason = :why", why=why
    )
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready', reason = NULL")
    for identifier in (event, deliveries(database)[0].id, webhook.id):
        for form in ((), ("--json",)):
            ran = cli("explain", identifier, *form)
            assert ran.status == 0
            assert not steering(ran.out)
            assert SECRET not in ran.out
