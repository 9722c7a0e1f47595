import json
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from dispatcher.transport.exchange import Request
from dispatcher.version import USER_AGENT
from tests.behaviours import Answer, final
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_due,
    make_webhook,
    rows,
    sweep_once,
)
from tests.receiver import Receiver
from workers.callbacks.render import render
from workers.claims.claims import Claim

COMPACT = json.dumps(MESSAGE, separators=(",", ":")).encode()


def state_of(database: Engine) -> tuple[str, str | None, int]:
    (delivery,) = deliveries(database)
    return delivery.state, delivery.reason, delivery.attempt_count


def test_a_message_arrives_as_the_callback_of_the_default_contract(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook?secret=abc"))
    accepted = enqueue(RECEIVED, MESSAGE, account="acme")

    assert deliver_all(settings) == {"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}

    (callback,) = receiver.received
    (delivery,) = deliveries(database)
    (attempt,) = attempts(database)
    assert (callback.method, callback.target, callback.body) == ("POST", "/hook?secret=abc", b"[" + COMPACT + b"]")
    assert callback.header("Content-Type") == "application/json"
    assert callback.header("User-Agent") == USER_AGENT
    assert callback.header("Dispatcher-Event-Id") == str(accepted.event_id)
    assert callback.header("Dispatcher-Event-Type") == RECEIVED
    assert callback.header("Dispatcher-Delivery-Id") == str(delivery.id)
    assert callback.header("Dispatcher-Attempt") == "1"
    assert callback.header("Dispatcher-Request-Id") == str(attempt.request_id)
    assert callback.header("Authorization") is None
    assert (delivery.state, delivery.reason, delivery.attempt_count) == ("delivered", None, 1)
    assert delivery.finished_at is not None
    assert (attempt.number, attempt.verdict, attempt.status, attempt.failure) == (1, "acknowledged", 200, None)


def test_an_attempts_record_has_what_was_sent_and_answered_but_no_secret(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(418, headers=(("X-Why", "tea"), ("Content-Type", "text/plain")), body=b"I am\0tea"))
    make_webhook(database, settings, url=receiver.url("/hook?secret=abc"), authorization=Basic("user", "open sesame"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (attempt,) = attempts(database)
    assert attempt.url_masked == receiver.url("/hook?secret=***")
    assert "Authorization: Basic ***" in attempt.headers_masked.split("\n")
    assert f"Dispatcher-Event-Type: {RECEIVED}" in attempt.headers_masked
    assert "X-Why: tea" in attempt.answer_headers
    assert bytes(attempt.answer_excerpt) == b"I am\0tea"
    assert (attempt.method, attempt.status, attempt.verdict, attempt.answer_cut) == ("POST", 418, "rejected", False)
    assert attempt.duration > timedelta(0)
    assert receiver.received[0].header("Authorization") == "Basic dXNlcjpvcGVuIHNlc2FtZQ=="


def test_long_answers_are_kept_in_part(database: Engine, settings: Settings, receiver: Receiver) -> None:
    headers = tuple((f"X-{n}", "v" * 100) for n in range(90))
    receiver.script("/hook", Answer(200, headers=headers, body=b"x" * 5_000))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (attempt,) = attempts(database)
    assert (len(attempt.answer_headers), bytes(attempt.answer_excerpt)) == (8 * 1024, b"x" * 4096)
    assert (attempt.answer_cut, attempt.verdict) == (True, "acknowledged")


def test_of_an_answer_to_a_webhook_of_very_many_secrets_nothing_is_kept(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(418, headers=(("X-Why", "tea"),), body=b"I am tea"))
    make_webhook(database, settings, url=receiver.url("/hook"), headers={f"X-{n}": f"+secret{n}" for n in range(13)})
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (attempt,) = attempts(database)
    assert (attempt.status, attempt.answer_headers, bytes(attempt.answer_excerpt)) == (418, "***", b"***")


def test_the_object_envelope_sends_the_message_alone(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(
        database,
        settings,
        url=receiver.url("/hook"),
        contract={"envelope": "object", "method": "PUT", "user_agent": "BulkSMS Invoker"},
    )
    given = b'{ "id": 634151298329219072,  "cost": 0.0125 }'
    enqueue(RECEIVED, given, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.method, callback.body) == ("PUT", given)
    assert callback.header("User-Agent") == "BulkSMS Invoker"


def test_get_sends_the_members_as_query_parameters(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook?secret=abc"), contract={"method": "GET"})
    data = (
        b'{"id": 634151298329219072, "cost": 0.01250, "body": "a&b=c \xc3\xa4", "status": {"id" : "SENT.null", '
        b'"tags": [1, " x "]}, "read": true, "to": null, "empty": ""}'
    )
    enqueue(RECEIVED, data, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert (callback.method, callback.body) == ("GET", b"")
    assert parse_qsl(callback.target.partition("?")[2], keep_blank_values=True) == [
        ("secret", "abc"),
        ("id", "634151298329219072"),
        ("cost", "0.01250"),
        ("body", "a&b=c ä"),
        ("status", '{"id":"SENT.null","tags":[1," x "]}'),
        ("read", "true"),
        ("to", "null"),
        ("empty", ""),
    ]
    assert callback.header("Content-Type") is None


@pytest.mark.parametrize("data", [{"body": "x" * 9_000}, [1, 2], "text"])
def test_a_message_that_get_cannot_carry_is_discarded_unsent(
    database: Engine, settings: Settings, receiver: Receiver, data: Any
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"method": "GET"})
    enqueue(RECEIVED, data, account="acme")
    assert deliver_all(settings)["discarded"] == 1
    assert state_of(database) == ("discarded", "render_failed", 0)
    assert receiver.received == attempts(database) == []


def test_a_message_nested_too_deeply_for_get_is_discarded_and_the_others_are_delivered(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    make_webhook(database, settings, url=receiver.url("/get"), contract={"method": "GET"})
    make_webhook(database, settings, url=receiver.url("/post"))
    for message in ({"n": 1}, {"n": 2}, {"n": 3}):
        enqueue(RECEIVED, message, account="acme")
    # How deep enqueueing lets a message be is a matter of the producer's stack; reading it here must not end the loop.
    deep = b'{"n":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    change(database, "UPDATE dispatcher.events SET data = :deep WHERE convert_from(data, 'UTF8') LIKE '%2%'", deep=deep)
    assert deliver_all(settings) == {"claimed": 6, "delivered": 5, "retried": 0, "discarded": 1}
    assert sorted(callback.target for callback in receiver.at("/get")) == ["/get?n=1", "/get?n=3"]
    assert [(row.reason, row.attempt_count) for row in deliveries(database) if row.state == "discarded"] == [
        ("render_failed", 0)
    ]
    assert "not nested too deeply" in capsys.readouterr().out


def test_a_message_that_rendering_stumbles_over_does_not_stop_the_others(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stumble(claims: Sequence[Claim], *arguments: Any, **options: Any) -> Request:
        if claims[0].event_type == "odd":
            raise KeyError("planted-payload")
        return render(claims, *arguments, **options)

    monkeypatch.setattr("workers.loop.render", stumble)
    make_webhook(database, settings, url=receiver.url("/hook"))
    for event_type in ("plain", "odd", "plain"):
        enqueue(event_type, MESSAGE, account="acme")
    assert deliver_all(settings) == {"claimed": 3, "delivered": 2, "retried": 0, "discarded": 1}
    assert [(row.state, row.reason, row.attempt_count) for row in deliveries(database)] == [
        ("delivered", None, 1),
        ("discarded", "render_failed", 0),
        ("delivered", None, 1),
    ]
    told = capsys.readouterr().out
    assert "KeyError" in told
    assert "planted-payload" not in told


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, ("delivered", None)),
        (204, ("delivered", None)),
        (302, ("waiting", None)),
        (400, ("discarded", "rejected")),
        (429, ("discarded", "rejected")),
        (500, ("waiting", None)),
        (799, ("waiting", None)),
    ],
)
def test_the_answer_decides_by_the_delivery_rules(
    database: Engine, settings: Settings, receiver: Receiver, status: int, expected: tuple[str, str | None]
) -> None:
    make_webhook(database, settings, url=receiver.url(f"/status/{status}"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    assert state_of(database) == (*expected, 1)


def test_a_temporary_failure_waits_90_seconds_and_is_retried_until_it_succeeds(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(503), Answer(503), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    waits = []
    for _ in range(2):
        deliver_all(settings)
        waits += rows(
            database,
            "SELECT extract(epoch FROM due_at - now()) AS seconds, state, schedule_step FROM dispatcher.deliveries",
        )
        assert deliver_all(settings)["claimed"] == 0
        make_due(database)
        promote(settings)
    deliver_all(settings)
    assert [(row.state, row.schedule_step) for row in waits] == [("waiting", 1), ("waiting", 2)]
    assert 85 < waits[0].seconds <= 90
    assert 175 < waits[1].seconds <= 180
    assert state_of(database) == ("delivered", None, 3)
    assert [callback.header("Dispatcher-Attempt") for callback in receiver.received] == ["1", "2", "3"]
    assert [(row.number, row.status) for row in attempts(database)] == [(1, 503), (2, 503), (3, 200)]


def promote(settings: Settings) -> dict[str, int]:
    return sweep_once(settings)


def test_every_retry_failed_is_exhausted_after_197_attempts(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/status/500"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    change_step = "UPDATE dispatcher.deliveries SET schedule_step = 195, attempt_count = 195"
    with database.begin() as connection:
        connection.exec_driver_sql(change_step)
    for expected in (("waiting", None, 196), ("discarded", "exhausted", 197)):
        make_due(database)
        promote(settings)
        deliver_all(settings)
        assert state_of(database) == expected


def test_an_attempt_uses_the_webhook_as_it_is_now(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/status/500"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    change_webhook(database, settings, webhook, "update", url=receiver.url("/new"))
    make_due(database)
    promote(settings)
    deliver_all(settings)
    assert [callback.path for callback in receiver.received] == ["/status/500", "/new"]
    assert [row.url_masked for row in attempts(database)] == [receiver.url("/status/500"), receiver.url("/new")]


def test_a_disabled_webhook_gets_nothing_until_it_is_enabled(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    change_webhook(database, settings, webhook, "disable")
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings)["claimed"] == 0
    assert state_of(database) == ("ready", None, 0)
    change_webhook(database, settings, webhook, "enable")
    assert deliver_all(settings)["delivered"] == 1
    assert len(receiver.received) == 1


def test_a_rule_can_make_429_temporary_and_honour_the_receivers_wish(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(429, headers=(("Retry-After", "600"),)))
    rules = {"429": {"verdict": "temporary", "honour_retry_after": True}}
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"rules": rules})
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (row,) = rows(database, "SELECT state, extract(epoch FROM due_at - now()) AS seconds FROM dispatcher.deliveries")
    assert row.state == "waiting"
    assert 590 < row.seconds <= 600


def test_a_rule_can_disable_the_webhook(database: Engine, settings: Settings, receiver: Receiver) -> None:
    rules = {"410": {"verdict": "rejected", "disable_webhook": True}}
    make_webhook(
        database, settings, url=receiver.url("/status/410"), contract={"rules": rules}, contact_email="ops@example.com"
    )
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (webhook,) = rows(database, "SELECT * FROM dispatcher.webhooks")
    assert (webhook.enabled, webhook.disabled_by, webhook.disabled_reason) == (False, "response rule", "http_410")
    notices = rows(database, "SELECT kind, fingerprint FROM dispatcher.notices ORDER BY kind")
    assert [tuple(row) for row in notices] == [("message_discarded", "http_410"), ("webhook_disabled", "http_410")]
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings)["claimed"] == 0


@pytest.mark.parametrize(
    "changed", [{"url": "http://127.0.0.1:9/new"}, {"contract": {}}, {"contact_email": "ops@example.com"}]
)
def test_a_late_answer_disables_no_webhook_that_was_changed_meanwhile(
    database: Engine, settings: Settings, receiver: Receiver, changed: dict[str, Any]
) -> None:
    rules = {"410": {"verdict": "rejected", "disable_webhook": True}}
    held = receiver.gate()
    receiver.script("/old", (held, *Answer(410).steps()))
    webhook = make_webhook(database, settings, url=receiver.url("/old"), contract={"rules": rules})
    enqueue(RECEIVED, MESSAGE, account="acme")
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    receiver.wait_for(1)
    change_webhook(database, settings, webhook, "update", **changed)
    held.open()
    loop.join(60)
    assert state_of(database) == ("discarded", "rejected", 1)
    assert [row.enabled for row in rows(database, "SELECT enabled FROM dispatcher.webhooks")] == [True]
    assert rows(database, "SELECT 1 FROM dispatcher.audit WHERE action = 'webhook.disabled'") == []


def test_an_expired_event_is_discarded_unsent(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE dispatcher.events SET expires_at = now()")
        connection.exec_driver_sql("UPDATE dispatcher.deliveries SET give_up_at = now()")
    deliver_all(settings)
    assert state_of(database) == ("discarded", "expired", 0)
    assert receiver.received == []


def test_everything_due_is_delivered_whatever_its_number(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    for n in range(30):
        make_webhook(database, settings, url=receiver.url(f"/hook/{n}"))
    for _ in range(20):
        enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(settings) == {"claimed": 600, "delivered": 600, "retried": 0, "discarded": 0}
    assert len(receiver.received) == len({r.header("Dispatcher-Delivery-Id") for r in receiver.received}) == 600


def test_a_webhook_that_hangs_does_not_hold_up_the_others(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    gate = receiver.gate()
    receiver.script("/hang", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hang"))
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(50):
        enqueue(RECEIVED, MESSAGE, account="acme")
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    try:
        receiver.wait_for(50, path="/hook")
        assert len(receiver.at("/hang")) <= 4  # its window, and not one more
    finally:
        gate.open()
        loop.join(30)
    assert len(receiver.at("/hang")) == 50


def test_two_loops_at_once_send_nothing_twice(database: Engine, settings: Settings, receiver: Receiver) -> None:
    for n in range(5):
        make_webhook(database, settings, url=receiver.url(f"/hook/{n}"))
    for _ in range(100):
        enqueue(RECEIVED, MESSAGE, account="acme")
    together(lambda: deliver_all(settings), 2)
    sent = [callback.header("Dispatcher-Delivery-Id") for callback in receiver.received]
    assert len(sent) == len(set(sent)) == 500
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_what_is_committed_while_a_loop_ends_is_never_left_behind(
    database: Engine, settings: Settings, receiver: Receiver, broker: "redis.Redis"
) -> None:
    """Producers and ending loops race; after each round nothing is due without a wake on its way or a loop awake."""
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(30):
        loop = threading.Thread(target=deliver_all, args=(settings,))
        loop.start()
        enqueue(RECEIVED, MESSAGE, account="acme")
        loop.join(30)
        left = rows(database, "SELECT 1 FROM dispatcher.deliveries WHERE state = 'ready'")
        assert not left or broker.get("dispatcher:wake:dispatcher.deliver") is not None
        deliver_all(settings)
        broker.flushall()
    assert {row.state for row in deliveries(database)} == {"delivered"}


def together(action: Callable[[], object], times: int) -> None:
    threads = [threading.Thread(target=action) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
