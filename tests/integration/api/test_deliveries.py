"""`/v1/deliveries`: found by every filter, told with their attempts, sent again, cancelled."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.db.models import Webhook
from dispatcher.ids import new_id
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from tests.behaviours import Answer, Do
from tests.factories import change, deliver_all, deliveries, make_account, make_webhook
from tests.integration.api.conftest import Api, MakeKey
from tests.integration.workers.tokens.token_server import TokenServer
from tests.receiver import Receiver

SECRET = "9f8e7d6c5b4a39281706"
PASSWORD = "correct-horse-1"
UNKNOWN = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"
PATH = f"/{SECRET}"


@pytest.fixture
def key(make_key: MakeKey) -> str:
    return make_key("acme", Scope.READ, Scope.MANAGE)


@pytest.fixture
def webhook(database: Engine, settings: Settings, receiver: Receiver) -> Webhook:
    return make_webhook(database, settings, url=receiver.url(PATH), name="main", authorization=Basic("u", PASSWORD))


def attempted(receiver: Receiver, settings: Settings, database: Engine, *answers: Any) -> list[str]:
    """One delivery after the other, each attempted once and answered so; their ids."""
    receiver.script(PATH, *answers)
    for _ in answers:
        enqueue("message.sent", 1, account="acme")
        deliver_all(settings)
    return [str(delivery.id) for delivery in deliveries(database)][-len(answers) :]


def listed(api: Api, token: str, **query: Any) -> list[str]:
    answer = api.call("GET", "/v1/deliveries", token=token, params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def one(api: Api, token: str, delivery: str) -> Any:
    answer = api.call("GET", f"/v1/deliveries/{delivery}", token=token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_attempt_shows_the_request_whose_token_was_refused(
    api: Api, key: str, settings: Settings, database: Engine, receiver: Receiver
) -> None:
    server = TokenServer(receiver)
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    receiver.script("/hook", Answer(401, body=b"token-1 has expired"), Answer(503, body=b"busy"))
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    (attempt,) = one(api, key, str(delivery.id))["attempts"]
    refused = attempt["refused"]
    assert (refused["answer"]["status"], refused["answer"]["text"]) == (401, "*** has expired")
    assert (attempt["answer"]["status"], attempt["answer"]["text"]) == (503, "busy")
    ids = [request.header("Dispatcher-Request-Id") for request in receiver.at("/hook")]
    assert [refused["request"]["id"], attempt["request"]["id"]] == ids
    assert "token-1" not in str(attempt)
    assert refused["request"]["started_at"] < attempt["request"]["started_at"]


def test_deliveries_are_found_by_webhook_event_state_reason_and_time(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    delivered, rejected, waiting = attempted(receiver, settings, database, Answer(200), Answer(404), Answer(500))
    quiet = make_webhook(database, settings, url="https://example.com/", event_types=["nothing"])
    event = str(deliveries(database)[2].event_id)
    assert listed(api, key) == [waiting, rejected, delivered]
    assert listed(api, key, webhook=webhook.id) == [waiting, rejected, delivered]
    assert listed(api, key, webhook=quiet.id) == listed(api, key, webhook=UNKNOWN) == []
    assert listed(api, key, event=event) == [waiting]
    assert listed(api, key, event=event, webhook=webhook.id, state="waiting") == [waiting]
    assert listed(api, key, state="delivered") == [delivered]
    assert listed(api, key, state="discarded", reason="rejected") == [rejected]
    assert listed(api, key, reason="expired") == []
    hour = timedelta(hours=1)
    assert listed(api, key, since=(datetime.now(UTC) - hour).isoformat()) == [waiting, rejected, delivered]
    assert listed(api, key, since=(datetime.now(UTC) + hour).isoformat()) == []
    assert listed(api, key, until=(datetime.now(UTC) - hour).isoformat()) == []
    for wrong in ({"state": "lost"}, {"reason": "x"}, {"webhook": "7"}, {"event": "x"}, {"limit": 101}):
        assert api.call("GET", "/v1/deliveries", token=key, params=wrong).status_code == 422


def test_pages_stay_right_while_deliveries_come_and_change(
    api: Api, key: str, database: Engine, webhook: Webhook
) -> None:
    for _ in range(5):
        enqueue("message.sent", 1, account="acme")
    made = [str(delivery.id) for delivery in deliveries(database)]
    seen, cursor = [], None
    while True:
        page = api.call("GET", "/v1/deliveries", token=key, params={"limit": 2, "cursor": cursor}).json()
        seen += [item["id"] for item in page["items"]]
        enqueue("message.sent", 1, account="acme")
        change(database, "DELETE FROM dispatcher.deliveries WHERE id = :id", id=UUID(seen[-1]))
        if (cursor := page["next"]) is None:
            break
    assert seen == made[::-1]


def test_an_attempt_is_reported_with_what_was_sent_and_answered(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    answer = Answer(503, headers=(("X-Why", "busy: \xe9"),), body="come back, é".encode())
    (delivery,) = attempted(receiver, settings, database, answer)
    document = one(api, key, delivery)
    assert (document["id"], document["account"], document["state"]) == (delivery, "acme", "waiting")
    assert (document["event"]["id"], document["event"]["type"]) == (document["event_id"], "message.sent")
    (attempt,) = document["attempts"]
    assert (attempt["number"], attempt["verdict"], attempt["outcome_unknown"]) == (1, "temporary", False)
    assert attempt["failure"] is None
    sent = attempt["request"]
    assert (sent["method"], sent["id"]) == ("POST", receiver.received[0].header("Dispatcher-Request-Id"))
    assert 0 < sent["duration_ms"] < 30_000
    assert sent["started_at"].endswith("Z")
    assert {"name": "Authorization", "value": "Basic ***"} in sent["headers"]
    answered = attempt["answer"]
    assert (answered["status"], answered["text"], answered["base64"]) == (503, "come back, é", None)
    assert (answered["is_cut"], answered["is_unreadable"]) == (False, False)
    assert {"name": "X-Why", "value": "busy: \xe9"} in answered["headers"]


def test_no_secret_of_the_webhook_is_reported(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    (delivery,) = attempted(receiver, settings, database, Answer(404))
    for method, path in (("GET", ""), ("GET", f"/{delivery}"), ("POST", f"/{delivery}/redeliver")):
        answer = api.call(method, f"/v1/deliveries{path}", token=key)
        assert answer.ok
        assert SECRET not in answer.text
        assert PASSWORD not in answer.text


def test_an_answer_that_is_no_text_is_base64(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    bodies = [b"\x89PNG\xff", b"a\0b", b""]
    for delivery, body in zip(
        attempted(receiver, settings, database, *(Answer(404, body=body) for body in bodies)), bodies, strict=True
    ):
        answered = one(api, key, delivery)["attempts"][0]["answer"]
        if body:
            assert (answered["text"], b64decode(answered["base64"])) == (None, body)
        else:
            assert (answered["text"], answered["base64"]) == ("", None)


def test_a_cut_answer_ends_with_its_last_whole_character(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    (delivery,) = attempted(receiver, settings, database, Answer(404, body=b"x" + "é".encode() * 5000))
    answered = one(api, key, delivery)["attempts"][0]["answer"]
    assert (answered["is_cut"], answered["text"]) == (True, "x" + "é" * 2047)


def test_an_answer_cannot_steer_the_terminal_of_whoever_looks(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    hostile = "\x1b[2J\x7f\x9b\u202egnp.exe\U000e0041"
    (delivery,) = attempted(receiver, settings, database, Answer(404, body=hostile.encode()))
    answer = api.call("GET", f"/v1/deliveries/{delivery}", token=key)
    assert answer.json()["attempts"][0]["answer"]["text"] == hostile
    assert all(32 <= byte < 127 for byte in answer.content)


def test_a_failure_and_an_unknown_outcome_are_reported(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver
) -> None:
    (delivery,) = attempted(receiver, settings, database, (Do.CLOSE,))
    change(
        database,
        "INSERT INTO dispatcher.attempts (id, delivery_id, number, outcome_unknown) VALUES (:id, :delivery, 2, true)",
        id=new_id(),
        delivery=UUID(delivery),
    )
    failed, unknown = one(api, key, delivery)["attempts"]
    assert (failed["answer"], failed["verdict"]) == (None, "temporary")
    assert failed["failure"]["kind"] == "connection_reset"
    assert failed["request"]["method"] == "POST"
    assert (unknown["outcome_unknown"], unknown["request"], unknown["answer"], unknown["failure"]) == (
        *(True, None, None, None),
    )


def test_a_delivery_whose_event_is_no_longer_kept_is_still_reported(
    api: Api, key: str, database: Engine, webhook: Webhook
) -> None:
    enqueue("message.sent", 1, account="acme")
    change(database, "DELETE FROM dispatcher.events")
    (delivery,) = listed(api, key)
    document = one(api, key, delivery)
    assert (document["event"], document["event_type"]) == (None, None)
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', finished_at = now()")
    refused = api.call("POST", f"/v1/deliveries/{delivery}/redeliver", token=key)
    assert (refused.status_code, "no longer kept" in refused.json()["detail"]) == (409, True)


def test_a_closed_delivery_is_sent_again_and_the_workers_are_woken(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, receiver: Receiver, broker: redis.Redis
) -> None:
    (delivery,) = attempted(receiver, settings, database, Answer(404))
    receiver.script(PATH, Answer(200))
    broker.flushall()
    answer = api.call("POST", f"/v1/deliveries/{delivery}/redeliver", token=key)
    assert (answer.status_code, answer.json()["state"], answer.json()["id"]) == (202, "ready", delivery)
    assert broker.llen("deliver") == 1
    again = api.call("POST", f"/v1/deliveries/{delivery}/redeliver", token=key)
    assert (again.status_code, "still on its way" in again.json()["detail"]) == (409, True)
    deliver_all(settings)
    assert [attempt["answer"]["status"] for attempt in one(api, key, delivery)["attempts"]] == [404, 200]


def test_a_delivery_that_waits_is_cancelled_once(
    api: Api, key: str, database: Engine, webhook: Webhook, receiver: Receiver, settings: Settings
) -> None:
    enqueue("message.sent", 1, account="acme")
    (delivery,) = listed(api, key)
    answer = api.call("POST", f"/v1/deliveries/{delivery}/cancel", token=key)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert api.call("POST", f"/v1/deliveries/{delivery}/cancel", token=key).status_code == 409
    deliver_all(settings)
    assert receiver.received == []


def test_another_accounts_deliveries_do_not_exist(
    api: Api, make_key: MakeKey, database: Engine, webhook: Webhook
) -> None:
    event = enqueue("message.sent", 1, account="acme").event_id
    theirs = str(deliveries(database)[0].id)
    stranger = make_key("other", Scope.READ, Scope.MANAGE)
    for method, action in (("GET", ""), ("POST", "/redeliver"), ("POST", "/cancel")):
        found = [
            api.call(method, f"/v1/deliveries/{identifier}{action}", token=stranger) for identifier in (theirs, UNKNOWN)
        ]
        assert [answer.status_code for answer in found] == [404, 404]
        assert found[0].text.replace(theirs, UNKNOWN) == found[1].text
    assert (
        listed(api, stranger) == listed(api, stranger, webhook=webhook.id) == listed(api, stranger, event=event) == []
    )
    assert deliveries(database)[0].state == "ready"


def test_an_operator_finds_them_by_account_webhook_event_or_id(
    api: Api, make_key: MakeKey, database: Engine, webhook: Webhook
) -> None:
    operator = make_key(None, Scope.OPERATOR)
    make_account(database, "other")
    event = enqueue("message.sent", 1, account="acme").event_id
    delivery = str(deliveries(database)[0].id)
    assert listed(api, operator, account="acme") == [delivery]
    assert listed(api, operator, webhook=webhook.id) == listed(api, operator, event=event) == [delivery]
    assert listed(api, operator, account="other", webhook=webhook.id) == []
    assert one(api, operator, delivery)["account"] == "acme"
    assert api.call("GET", "/v1/deliveries", token=operator).status_code == 422
    for query in ({"webhook": UNKNOWN}, {"event": UNKNOWN}):
        assert api.call("GET", "/v1/deliveries", token=operator, params=query).status_code == 404
    assert api.call("POST", f"/v1/deliveries/{delivery}/cancel", token=operator).status_code == 200


def test_reading_and_changing_need_their_scopes(
    api: Api, make_key: MakeKey, database: Engine, webhook: Webhook
) -> None:
    enqueue("message.sent", 1, account="acme")
    delivery = str(deliveries(database)[0].id)
    reader, manager = make_key("acme", Scope.READ), make_key("acme", Scope.MANAGE, Scope.SEND)
    for action in ("cancel", "redeliver"):
        assert api.call("POST", f"/v1/deliveries/{delivery}/{action}", token=reader).status_code == 403
    assert api.call("GET", f"/v1/deliveries/{delivery}", token=manager).status_code == 403
    assert api.call("GET", "/v1/deliveries", token=manager).status_code == 403
    assert deliveries(database)[0].state == "ready"
