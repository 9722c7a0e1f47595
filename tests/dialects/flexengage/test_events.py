"""flexEngage's calls about a webhook's events: the log and its pages, one event with its attempts, redelivery."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.ids import new_id, time_of
from dispatcher.settings import Settings
from dispatcher.states import CLOSED
from tests.behaviours import Answer, Do
from tests.dialects.flexengage.conftest import TYPE, FlexEngage, error
from tests.factories import change, deliver_all, deliveries, make_due, rows, sweep_once
from tests.receiver import Receiver

NO_EVENT = "No event with that ID was found"


def send(count: int = 1, event_type: str = TYPE) -> list[str]:
    """The ids of new events, in order of creation, each in a different millisecond."""
    made: list[UUID] = []
    while len(made) < count:
        if not made or datetime.now(UTC) - time_of(made[-1]) >= timedelta(milliseconds=1):
            made.append(enqueue(event_type, len(made), account="acme").event_id)
    return [str(event) for event in made]


def ids(page: dict[str, Any]) -> list[str]:
    return [event["id"] for event in page["events"]]


# The log


def test_the_pages_of_a_log_are_walked_to_their_end(flexengage: FlexEngage) -> None:
    webhook = flexengage.create()
    flexengage.create("https://example.com/other")
    sent, seen, page = send(5), [], {"lastId": None}
    while True:
        start_id = page["lastId"]
        answer = flexengage.events(webhook, size=2, startId=start_id)
        page = answer["page"]
        assert page | {"lastId": None} == {"size": 2, "startId": start_id, "lastId": None}
        seen.append(ids(answer))
        if page["lastId"] is None:
            break
        assert page["lastId"] == seen[-1][-1]
    assert seen == [sent[:2], sent[2:4], sent[4:]]
    assert flexengage.events(webhook, size=5)["page"]["lastId"] is None
    assert flexengage.events(webhook, startId=sent[-1])["events"] == []


def test_twenty_are_on_a_page_and_a_hundred_may_be(flexengage: FlexEngage) -> None:
    webhook = flexengage.create()
    send(21)
    page = flexengage.events(webhook)
    assert (len(page["events"]), page["page"]["size"]) == (20, 20)
    assert len(flexengage.events(webhook, size=100)["events"]) == 21


def test_a_log_is_bounded_by_when_events_came(flexengage: FlexEngage) -> None:
    webhook = flexengage.create()
    first, second, third = send(3)
    at = [time_of(UUID(event)).isoformat(timespec="milliseconds") for event in (first, second, third)]
    assert ids(flexengage.events(webhook, start=at[1])) == [second, third]
    assert ids(flexengage.events(webhook, end=at[1])) == [first]
    assert ids(flexengage.events(webhook, start=at[1], end=at[2])) == [second]
    assert ids(flexengage.events(webhook, start=at[0], startId=first)) == [second, third]
    assert len(flexengage.events(webhook, start="0001-01-01t00:00:00z", end="9999-12-31T23:59:59Z")["events"]) == 3


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("size", "0", "size must be a whole number from 1 to 100"),
        ("size", "101", "size must be a whole number from 1 to 100"),
        ("size", "all", "size must be a whole number from 1 to 100"),
        ("start", "yesterday", "start must be a date and time with its offset from UTC"),
        ("start", "1566656122", "start must be a date and time with its offset from UTC"),
        ("end", "2019-08-24T14:15:22", "end must be a date and time with its offset from UTC"),
        ("startId", "123", "startId must be a UUID"),
    ],
)
def test_a_parameter_that_is_refused_is_reported(flexengage: FlexEngage, name: str, value: str, told: str) -> None:
    answer = flexengage.call("GET", f"/{flexengage.create()['id']}/events", params={name: value})
    assert error(answer)[0] == 422
    assert answer.json()["validations"] == {name: told}


def test_a_page_cannot_begin_at_an_event_that_is_not_in_the_log(flexengage: FlexEngage) -> None:
    webhook, other = flexengage.create(), flexengage.create("https://example.com/", "OTHER")
    (event,) = send(event_type="OTHER")
    assert ids(flexengage.events(other)) == [event]
    for unknown in (event, str(uuid4())):
        answer = flexengage.call("GET", f"/{webhook['id']}/events", params={"startId": unknown})
        assert error(answer) == (404, NO_EVENT)


def test_an_event_shows_its_status(flexengage: FlexEngage, database: Engine) -> None:
    webhook = flexengage.create()
    (event,) = send()
    (line,) = flexengage.events(webhook)["events"]
    assert list(line) == ["id", "type", "created", "updated", "status"]
    assert line["created"] == time_of(UUID(event)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for state, status in (
        ("ready", "PENDING"),
        ("claimed", "PENDING"),
        ("waiting", "PENDING"),
        ("delivered", "SUCCESS"),
        ("discarded", "FAILED"),
        ("cancelled", "FAILED"),
    ):
        ended = "now() + interval '1 hour'" if state in CLOSED else "NULL"
        change(database, f"UPDATE dispatcher.deliveries SET state = :state, finished_at = {ended}", state=state)
        shown = flexengage.event(webhook, event)
        assert (shown["updated"] > line["updated"]) == (state in CLOSED)
        assert shown["status"] == status
        assert flexengage.events(webhook)["events"] == [{name: shown[name] for name in line}]


# Attempts


def test_attempts_are_reported_with_what_was_sent_and_what_came_back(
    flexengage: FlexEngage, settings: Settings, receiver: Receiver, database: Engine
) -> None:
    body = b"r\xc3\xa9sum\xc3\xa9 \xff" + b"x" * 5000
    repeated = (("Set-Cookie", "a=1"), ("X-Odd", "a: b"), ("Set-Cookie", "c=2"))
    receiver.script("/hook", Answer(503, repeated, body), (Do.RESET,), Answer(404))
    webhook = flexengage.create(receiver.url("/hook?key=planted-key"))
    (event,) = send()
    for _ in range(3):
        deliver_all(settings)
        make_due(database)
        sweep_once(settings)
    shown = flexengage.event(webhook, event)
    assert shown["status"] == "FAILED"
    answered, failed, rejected = shown["attempts"]
    assert [list(attempt) for attempt in (answered, failed)] == [
        ["id", "created", "status", "request", "response"],
        ["id", "created", "status", "request"],
    ]
    assert {attempt["status"] for attempt in shown["attempts"]} == {"FAILED"}
    assert [attempt["id"] for attempt in shown["attempts"]] == [call.json()["attemptId"] for call in receiver.received]
    assert answered["request"]["endpoint"] == receiver.url("/hook?key=***")
    assert answered["request"]["headers"]["User-Agent"] == "FlexEngage Webhook"
    response = answered["response"]
    assert list(response) == ["statusCode", "headers", "body", "time"]
    assert response["headers"] | {"Content-Length": ""} == {
        "Set-Cookie": "a=1, c=2",
        "X-Odd": "a: b",
        "Content-Length": "",
    }
    assert response["body"] == body[:4096].decode(errors="replace")
    assert 0 <= response["time"] < 30_000
    assert (rejected["response"]["statusCode"], rejected["response"]["body"]) == (404, "")
    assert "planted-key" not in str(shown)


def test_an_attempt_whose_worker_died_is_a_failed_one_of_which_little_is_known(
    flexengage: FlexEngage, database: Engine
) -> None:
    webhook = flexengage.create("https://example.com/hook?key=planted")
    (event,) = send()
    (delivery,) = deliveries(database)
    attempt = new_id()
    change(
        database,
        "INSERT INTO dispatcher.attempts (id, delivery_id, number, outcome_unknown) VALUES (:id, :delivery, 1, true)",
        id=attempt,
        delivery=delivery.id,
    )
    (shown,) = flexengage.event(webhook, event)["attempts"]
    request = {"endpoint": "https://example.com/hook?key=***", "headers": {}}
    assert shown == {"id": str(attempt), "created": shown["created"], "status": "FAILED", "request": request}


def test_an_event_is_found_at_its_own_webhook_only(flexengage: FlexEngage) -> None:
    webhook, other = flexengage.create(), flexengage.create("https://example.com/", "OTHER")
    (event,) = send()
    assert flexengage.event(webhook, event)["type"] == TYPE
    for webhook_id, event_id in ((other["id"], event), (webhook["id"], uuid4()), (webhook["id"], "123")):
        assert error(flexengage.call("GET", f"/{webhook_id}/events/{event_id}")) == (404, NO_EVENT)


# Retry


def test_a_retry_sends_a_closed_event_again_as_a_new_attempt(
    flexengage: FlexEngage, settings: Settings, receiver: Receiver, broker: Any
) -> None:
    receiver.script("/hook", Answer(400), Answer(200))
    webhook = flexengage.create(receiver.url("/hook"))
    (event,) = send()
    deliver_all(settings)
    assert flexengage.event(webhook, event)["status"] == "FAILED"
    broker.flushall()
    answer = flexengage.call("POST", f"/{webhook['id']}/events/{event}/retry")
    assert (answer.status_code, answer.content) == (202, b"")
    assert broker.llen("deliver") == 1
    assert flexengage.event(webhook, event)["status"] == "PENDING"
    deliver_all(settings)
    shown = flexengage.event(webhook, event)
    assert [attempt["status"] for attempt in shown["attempts"]] == ["FAILED", "SUCCESS"]
    first, second = (callback.json() for callback in receiver.received)
    assert first["id"] == second["id"] == event
    assert first["attemptId"] != second["attemptId"]


def test_a_retry_of_what_is_still_on_its_way_changes_nothing(flexengage: FlexEngage, database: Engine) -> None:
    webhook = flexengage.create()
    (event,) = send()
    for state in ("ready", "claimed", "waiting"):
        change(database, "UPDATE dispatcher.deliveries SET state = :state", state=state)
        before = deliveries(database)
        assert flexengage.call("POST", f"/{webhook['id']}/events/{event}/retry").status_code == 202
        assert deliveries(database) == before


def test_what_is_no_longer_kept_is_reported_and_cannot_be_sent_again(flexengage: FlexEngage, database: Engine) -> None:
    webhook = flexengage.create()
    (event,) = send()
    change(database, "UPDATE dispatcher.deliveries SET state = 'delivered', finished_at = now()")
    change(database, "DELETE FROM dispatcher.events")
    before = deliveries(database)
    (line,) = flexengage.events(webhook)["events"]
    assert (line["id"], line["type"], line["status"]) == (event, None, "SUCCESS")
    assert flexengage.event(webhook, event)["type"] is None
    assert error(flexengage.call("POST", f"/{webhook['id']}/events/{event}/retry")) == (404, NO_EVENT)
    assert deliveries(database) == before


# Delivery


def test_a_callback_is_the_vendors_envelope_byte_for_byte(
    flexengage: FlexEngage, settings: Settings, receiver: Receiver, database: Engine
) -> None:
    data = b'{"phoneNumber": "+1234456789","message":"na\\u00efve \xf0\x9f\x91\x8b", "n":634151298329219072}'
    webhook = flexengage.create(receiver.url("/my/webhook/endpoint"))
    event = str(enqueue(TYPE, data, account="acme").event_id)
    deliver_all(settings)
    (callback,) = receiver.received
    (request,) = rows(database, "SELECT id FROM dispatcher.requests")
    created = time_of(UUID(event)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    assert callback.method == "POST"
    assert callback.body == (
        f'{{"id":"{event}","brandId":"acme","webhookId":"{webhook["id"]}","attemptId":"{request.id}",'
        f'"created":"{created}Z","type":"{TYPE}","data":'.encode()
        + data
        + b"}"
    )
    assert callback.header("User-Agent") == "FlexEngage Webhook"
    assert callback.header("Content-Type") == "application/json"
    assert (callback.header("webhook-signature") or "").startswith("v1,")
    assert callback.header("webhook-id") == event


def test_a_group_takes_in_all_types_below_it(flexengage: FlexEngage) -> None:
    flexengage.create("https://example.com/1", "NOTIFICATION.SMS")
    taken = {name: enqueue(name, 1, account="acme").deliveries for name in ("NOTIFICATION.SMS.RECEIPT", "NOTIFICATION")}
    taken |= {name: enqueue(name, 1, account="acme").deliveries for name in ("NOTIFICATION.SMSX.A", "NOTIFICATION.SMS")}
    assert taken == {
        "NOTIFICATION.SMS.RECEIPT": 1,
        "NOTIFICATION": 0,
        "NOTIFICATION.SMSX.A": 0,
        "NOTIFICATION.SMS": 1,
    }


def test_what_is_switched_off_waits_until_it_is_switched_on(
    flexengage: FlexEngage, settings: Settings, receiver: Receiver
) -> None:
    webhook = flexengage.create(receiver.url("/hook"), enabled=False)
    (event,) = send()
    deliver_all(settings)
    assert flexengage.event(webhook, event)["status"] == "PENDING"
    flexengage.call("PATCH", f"/{webhook['id']}", json={"enabled": True})
    deliver_all(settings)
    assert flexengage.event(webhook, event)["status"] == "SUCCESS"
    assert len(receiver.received) == 1


def test_what_a_response_rule_disabled_is_shown_as_switched_off(
    flexengage: FlexEngage, settings: Settings, receiver: Receiver
) -> None:
    webhook = flexengage.create(receiver.url("/status/410"))
    ruled = requests.patch(
        f"{flexengage.origin}/v1/webhooks/{webhook['id']}",
        json={"contract": {"rules": {"410": {"verdict": "rejected", "disable_webhook": True}}}},
        headers={"Authorization": f"Bearer {flexengage.token}"},
        timeout=30,
    )
    assert ruled.status_code == 200, ruled.text
    send()
    deliver_all(settings)
    assert flexengage.call("GET", f"/{webhook['id']}").json()["enabled"] is False


def test_a_failing_event_is_given_up_within_the_hour(
    flexengage: FlexEngage, settings: Settings, receiver: Receiver, database: Engine
) -> None:
    webhook = flexengage.create(receiver.url("/status/503"))
    change(database, "UPDATE dispatcher.webhooks SET contract = contract || '{\"circuit_breaker\": false}'")
    (event,) = send()
    delays = []
    while flexengage.event(webhook, event)["status"] == "PENDING":
        deliver_all(settings)
        delays += rows(
            database,
            "SELECT extract(epoch FROM d.due_at - a.created_at)::integer AS seconds FROM dispatcher.deliveries d"
            " JOIN dispatcher.attempts a ON a.delivery_id = d.id AND a.number = d.attempt_count"
            " WHERE d.state = 'waiting'",
        )
        make_due(database)
        sweep_once(settings)
    assert flexengage.event(webhook, event)["status"] == "FAILED"
    assert [delay.seconds for delay in delays] == [90, 180, 360, 720, 900, 900]
