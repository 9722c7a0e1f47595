"""A webhook made through Sinch's dialect is delivered in Sinch's shape."""

from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from schedules.catalog import DOUBLING
from tests.behaviours import Answer
from tests.dialects.sinch.conftest import PROJECT, Sinch
from tests.factories import deliver_all, deliveries, rows
from tests.receiver import Receiver
from tests.sinch_events import sinch_events

REPORT = (
    b'{"app_id":"app1","project_id":"proj1","accepted_time":"2026-01-01T10:00:00Z","message_delivery_report":'
    b'{"message_id":"01W4FFL35P4NC4K35MESSAGE001","status":"DELIVERED","number":634151298329219072,"text":"caf\xc3\xa9"}}'
)


def send(message: bytes = REPORT, event_type: str = "message.outbound.delivered", app: str = "app1") -> None:
    enqueue(event_type, message, account=PROJECT, app=app)


def test_the_message_goes_out_byte_for_byte_signed_as_sinchs_clients_check_it(
    sinch: Sinch, settings: Settings, receiver: Receiver
) -> None:
    sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY"], secret="foo_secret1234")
    send()
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.method, callback.body) == ("POST", REPORT)
    assert callback.header("Content-Type") == "application/json"
    assert callback.header("x-sinch-webhook-signature-algorithm") == "HmacSHA256"
    events = sinch_events("foo_secret1234")
    headers = dict(callback.headers)
    assert events.validate_authentication_header(headers, callback.body)
    event = events.parse_event(callback.body, headers)
    assert (event.app_id, event.message_delivery_report.status) == ("app1", "DELIVERED")
    assert callback.header("webhook-signature") is None


SPELLED_OUT = rb"""{
    "app_id": "app1", "project_id": "proj1",
    "text": "caf\u00e9 \/ \ud83d\ude00 \u000A \"", "price": 1.10, "price": 9007199254740993
}"""


def test_a_signed_message_goes_out_as_node_writes_what_it_has_parsed(
    sinch: Sinch, settings: Settings, receiver: Receiver
) -> None:
    sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY"], secret="foo_secret1234")
    send(SPELLED_OUT)
    deliver_all(settings)
    (callback,) = receiver.received
    text = '"caf\u00e9 / \U0001f600 \\n \\""'
    assert callback.body.decode() == (
        f'{{"app_id":"app1","project_id":"proj1","text":{text},"price":1.10,"price":9007199254740993}}'
    )
    events = sinch_events("foo_secret1234")
    assert events.validate_authentication_header(dict(callback.headers), callback.body)


def test_a_message_that_is_not_signed_goes_out_byte_for_byte(
    sinch: Sinch, settings: Settings, receiver: Receiver
) -> None:
    sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY"])
    send(SPELLED_OUT)
    deliver_all(settings)
    assert [callback.body for callback in receiver.received] == [SPELLED_OUT]


def test_without_a_secret_nothing_is_signed(sinch: Sinch, settings: Settings, receiver: Receiver) -> None:
    made = sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY"], secret="s").json()
    sinch.call("PATCH", f"/webhooks/{made['id']}?update_mask=secret", json={})
    send()
    deliver_all(settings)
    assert not [name for name, _ in receiver.received[0].headers if "signature" in name.lower()]


def test_only_its_apps_events_and_its_triggers_reach_it(sinch: Sinch, settings: Settings, receiver: Receiver) -> None:
    sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY", "OPT_IN"])
    send(app="app2")
    send(event_type="message.inbound.received")
    send(event_type="conversation.opt_in")
    deliver_all(settings)
    assert [callback.header("Dispatcher-Event-Type") for callback in receiver.received] == ["conversation.opt_in"]


def test_a_webhook_that_dismisses_gets_nothing(
    sinch: Sinch, settings: Settings, receiver: Receiver, database: Engine
) -> None:
    sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY"], target_type="DISMISS")
    send()
    assert deliveries(database) == []


def test_429_is_retried_by_the_doubling_schedule_and_other_4xx_are_not(
    sinch: Sinch, settings: Settings, receiver: Receiver, database: Engine
) -> None:
    receiver.script("/in", Answer(429), Answer(404))
    sinch.create(target=receiver.url("/in"), triggers=["MESSAGE_DELIVERY"])
    send()
    deliver_all(settings)
    (waiting,) = deliveries(database)
    assert waiting.state == "waiting"
    (span,) = rows(
        database, "SELECT due_at - now() AS wait, give_up_at - created_at AS span FROM dispatcher.deliveries"
    )
    assert span.wait <= DOUBLING.delays[0]
    assert span.span == DOUBLING.span
    send()
    deliver_all(settings)
    assert sorted((row.state, row.reason) for row in deliveries(database)) == [
        ("discarded", "rejected"),
        ("waiting", None),
    ]


def test_the_endpoint_of_a_token_server_comes_back_as_it_was_given_and_is_called_in_one_form(
    sinch: Sinch, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/t%C3%B6ken", Answer(200, body=b'{"access_token": "a-token", "expires_in": 600}'))
    client = {"client_id": "a", "client_secret": "b", "endpoint": receiver.url("/töken#part").replace("http:", "HTTP:")}
    made = sinch.create(
        target=receiver.url("/in"), triggers=["MESSAGE_INBOUND"], secret="s", client_credentials=client
    ).json()
    assert made["client_credentials"] == client
    changed = sinch.call("PATCH", f"/webhooks/{made['id']}", json={"secret": "t"}).json()
    assert changed == {**made, "secret": "t"}
    send(event_type="message.inbound.received")
    deliver_all(settings)
    (asked,) = receiver.at("/t%C3%B6ken")
    assert asked.target == "/t%C3%B6ken"
    (callback,) = receiver.at("/in")
    assert callback.header("Authorization") == "Bearer a-token"
