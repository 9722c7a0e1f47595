"""Token servers that fail, workers that die or stop while they fetch, webhooks that change meanwhile, secrets."""

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from dispatcher import enqueue
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.models import Base, Webhook
from dispatcher.errors import InvalidWebhook
from dispatcher.ids import new_id_text
from dispatcher.receiver_auth.credentials import ClientCredentials, TokenRequest
from dispatcher.settings import Settings
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import CONNECT_SECONDS, Exchange, Failure, FailureKind, Request
from dispatcher.transport.port import DNS_LOOKUPS, Transport
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.allowed import LOOPBACK
from tests.behaviours import (
    ENDLESS_BODY,
    GARBAGE,
    HANG,
    HUGE_HEADERS,
    RESET,
    SHORT_BODY,
    Answer,
    Script,
    final,
    gzipped,
)
from tests.dead_ports import refusing_port
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.installations import installation_for, worker_for
from tests.integration.workers.tokens.token_server import CLIENT_SECRET, TokenServer, shown, store
from tests.receiver import Receiver
from workers import loop as deliver
from workers.loop import DeliveryLoop
from workers.tokens.store import Missing, Token, TokenStore, Wanted
from workers.tokens.waiting import Tokens

TOKENS = Base.metadata.tables["dispatcher.tokens"]
PLANTED = "planted-words-of-an-answer"
LATE_TOKEN = final(200, b'{"access_token":"token-late","expires_in":600}')
NO_TOKEN = "the token server's answer holds no token"


def as_json(document: Any) -> Answer:
    return Answer(200, body=json.dumps(document).encode())


def in_little_time(settings: Settings) -> Settings:
    """A token request times out after 2 s, and one that failed is followed by another after 0.1 s."""
    return settings.model_copy(update={"time_scale": 0.02})


def states(database: Engine) -> list[tuple[str, str | None, int]]:
    return [(row.state, row.reason, row.attempt_count) for row in deliveries(database)]


def claimed(database: Engine, *webhooks: UUID) -> int:
    return sum(row.state == "claimed" and row.webhook_id in webhooks for row in deliveries(database))


def may_fetch(database: Engine) -> None:
    change(database, "UPDATE dispatcher.tokens SET next_fetch_at = now()")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline, "did not happen in 20 s"
        time.sleep(0.01)


def running(settings: Settings) -> threading.Thread:
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    return loop


# Failures of the token server


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        (Answer(500, body=PLANTED.encode()), "the token server answered 500"),
        (Answer(400, body=b'{"error":"invalid_scope"}'), "the token server answered 400"),
        (Answer(401, body=b'{"error":"invalid_client"}'), "the token server answered 401"),
        (Answer(302, (("Location", "/elsewhere"),)), "the token server answered 302"),
        (Answer(204), "the token server answered 204"),
        (Answer(200, body=PLANTED.encode()), NO_TOKEN),
        (as_json({"access_token": "\ud800" + PLANTED}), NO_TOKEN),
        (as_json({"access_token": f"{PLANTED}\r\nX-Injected: 1"}), NO_TOKEN),
        (as_json({"access_token": PLANTED, "token_type": "mac"}), NO_TOKEN),
        (as_json([PLANTED]), NO_TOKEN),
        (Answer(200, (("Content-Encoding", "gzip"),), PLANTED.encode()), NO_TOKEN),
        (as_json({"access_token": "a", "more": "m" * 70_000}), "the token server's answer is too large"),
        (gzipped(b" " * 10_000_000), "the token server's answer is too large"),
        (GARBAGE, "no answer from the token server (broken_answer)"),
        (SHORT_BODY, "no answer from the token server (broken_answer)"),
        (RESET, "no answer from the token server (connection_reset)"),
        (HUGE_HEADERS, "no answer from the token server (headers_too_large)"),
    ],
)
def test_without_a_token_the_attempt_fails_with_the_reason_and_the_receiver_is_not_called(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer, script: Script, detail: str
) -> None:
    receiver.script("/token", script)
    make_webhook(
        database,
        either,
        url=receiver.url("/hook"),
        authorization=server.credentials(),
        contact_email="ops@example.com",
    )
    store(1)
    assert deliver_all(either)["retried"] == 1
    assert states(database) == [("waiting", None, 1)]
    (attempt,) = attempts(database)
    assert (attempt.verdict, attempt.status, attempt.failure, attempt.failure_detail) == (
        "temporary",
        None,
        "token",
        detail,
    )
    assert "Authorization" not in attempt.headers_masked
    assert "Dispatcher-Attempt: 1" in attempt.headers_masked
    assert (attempt.answer_headers, attempt.answer_excerpt) == (None, None)
    assert receiver.at("/hook") == receiver.at("/elsewhere") == []
    notices = rows(database, "SELECT kind, fingerprint, due_at IS NOT NULL FROM dispatcher.notices")
    assert notices == [("message_retrying", "token", True)]
    assert rows(database, "SELECT failures FROM dispatcher.circuit_breakers") == [(1,)]
    assert PLANTED not in everything_stored(database)


@pytest.mark.parametrize(
    ("behaviour", "kind"), [(HANG, "timeout"), (ENDLESS_BODY[:1], "timeout"), (None, "connection_refused")]
)
def test_a_token_server_that_is_away_or_hangs_is_a_failure_in_time(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer, behaviour: Any, kind: str
) -> None:
    credentials = server.credentials()
    if behaviour is None:
        credentials = server.credentials(endpoint=f"http://127.0.0.1:{refusing_port()}/token")
    else:
        receiver.script("/token", (*behaviour, *HANG))
    make_webhook(database, either, url=receiver.url("/hook"), authorization=credentials)
    store(1)
    deliver_all(in_little_time(either))
    (attempt,) = attempts(database)
    assert (attempt.failure, attempt.failure_detail) == ("token", f"no answer from the token server ({kind})")
    if kind == "timeout":
        assert attempt.duration.total_seconds() >= 2


def test_all_that_waited_share_a_failed_fetch_and_the_next_one_is_not_at_once(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    receiver.script("/token", Answer(503, delay=0.1))
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(7)
    assert deliver_all(in_little_time(settings))["retried"] == 7
    asked = server.asked
    assert len(asked) == 4  # for the four of the first window together, then one by one
    assert all(later.at - earlier.at >= 0.2 for earlier, later in pairwise(asked))


def test_a_webhook_whose_token_server_recovers_is_delivered_to(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    receiver.script("/token", Answer(503), lambda _: server.issue())
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    assert deliver_all(settings)["retried"] == 1
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready', due_at = now()")
    may_fetch(database)
    assert deliver_all(settings)["delivered"] == 1
    assert [(row.number, row.failure, row.status) for row in attempts(database)] == [(1, "token", None), (2, None, 200)]


def test_a_fetch_that_fails_after_a_refusal_is_the_attempts_failure(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    receiver.script("/token", lambda _: server.issue(), Answer(503))
    receiver.script("/hook", Answer(401))
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    assert deliver_all(settings)["retried"] == 1
    assert [(row.number, row.failure) for row in attempts(database)] == [(1, "token")]


def test_a_token_request_that_our_own_look_ups_held_back_is_no_attempt(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    context = worker_for(in_little_time(settings))
    wait, held = context.transport.wait, []

    def hold_first(timeout: float) -> list[Exchange]:
        ended = wait(timeout)
        if ended and not held:
            held.extend(ended)
            return [one._replace(outcome=Failure(FailureKind.NOT_SENT, "a test")) for one in ended]
        return ended

    monkeypatch.setattr(context.transport, "wait", hold_first)
    assert DeliveryLoop(context).run()["delivered"] == 1
    context.drop_transport()
    assert held[0].request.url == receiver.url("/token")
    assert states(database) == [("delivered", None, 1)]
    assert rows(database, "SELECT * FROM dispatcher.circuit_breakers") == []


def test_a_token_url_that_cannot_be_called_ends_no_loop(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As a row would be that was stored before URLs were checked as they are now.
    monkeypatch.setattr("dispatcher.receiver_auth.credentials.normalise_url", lambda url: url)
    credentials = server.credentials(endpoint="gopher://old.example/token")
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=credentials)
    store(1)
    assert deliver_all(settings)["retried"] == 1
    assert [row.failure_detail for row in attempts(database)] == ["no answer from the token server (unreachable)"]


def test_a_token_server_that_hangs_holds_up_its_own_webhook_alone(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer
) -> None:
    gate = receiver.gate()
    receiver.script("/token", (gate, LATE_TOKEN))
    webhook = make_webhook(database, either, url=receiver.url("/hook"), authorization=server.credentials())
    make_webhook(database, either, url=receiver.url("/other"))
    store(50)
    loop = running(either)
    try:
        receiver.wait_for(50, path="/other")
        assert claimed(database, webhook.id) == 4  # its window, and not one more
        assert receiver.at("/hook") == []
    finally:
        gate.open()
        loop.join(30)
    assert len(receiver.at("/hook")) == 50


def test_many_webhooks_whose_token_servers_hang_leave_slots_to_the_others(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    gate = receiver.gate()
    receiver.script("/token", (gate, LATE_TOKEN))
    fields = {"url": receiver.url("/hook"), "authorization": server.credentials(), "event_types": ["hang"]}
    hanging = [make_webhook(database, settings, **fields).id for _ in range(20)]
    make_webhook(database, settings, url=receiver.url("/other"), event_types=["other"])
    context = worker_for(settings.model_copy(update={"max_in_flight": 8}))

    def prove_one_and_go_on() -> None:
        store(1, "other")
        DeliveryLoop(context).run()
        store(5, "hang")
        DeliveryLoop(context).run()
        context.drop_transport()

    loop = threading.Thread(target=prove_one_and_go_on)
    loop.start()
    try:
        wait_until(lambda: claimed(database, *hanging) == 6)  # three quarters of the slots
        store(30, "other")
        receiver.wait_for(31, path="/other")
        assert claimed(database, *hanging) == 6
        assert 1 <= len(server.asked) <= 6
    finally:
        gate.open()
        loop.join(30)
    assert len(receiver.at("/hook")) == 100


# Workers that die or stop, databases that go away


def test_a_worker_that_is_killed_while_it_fetches_is_replaced_when_its_time_is_over(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    receiver.script("/token", HANG)
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    script = """
from dispatcher.installation import Installation
from dispatcher.settings import read_settings
from workers.process import Worker
from workers.loop import DeliveryLoop
DeliveryLoop(Worker(Installation(read_settings()))).run()
"""
    with subprocess.Popen([sys.executable, "-c", script]) as worker:
        receiver.wait_for(1, timeout=30, path="/token")
        worker.kill()
    (row,) = rows(database, "SELECT next_fetch_at - now() AS left, token_ciphertext FROM dispatcher.tokens")
    assert 30 < row.left.total_seconds() <= 40
    assert row.token_ciphertext is None
    receiver.script("/token", lambda _: server.issue())
    store(1)
    loop = running(settings)
    wait_until(lambda: len(rows(database, "SELECT 1 FROM dispatcher.deliveries WHERE state = 'claimed'")) == 2)
    time.sleep(0.3)  # it looks each 0.1 s
    assert len(server.asked) == 1
    may_fetch(database)
    loop.join(30)
    assert shown(receiver) == ["Bearer token-1"]


def test_of_two_workers_that_look_in_the_same_moment_one_fetches_and_the_other_does_not_wait(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    deliver_all(settings)
    change(database, "UPDATE dispatcher.tokens SET expires_at = now()")
    found = []

    def look() -> None:
        with database.begin() as other:
            found.append(TokenStore(installation_for(settings).vault).look(other, [wanted(webhook, server)]))

    with database.begin() as connection:
        found.append(TokenStore(installation_for(settings).vault).look(connection, [wanted(webhook, server)]))
        second = threading.Thread(target=look)
        second.start()
        second.join(20)
        assert not second.is_alive()
    assert [list(one.values()) for one in found] == [[Missing.FETCH], [Missing.LATER]]


def wanted(webhook: Webhook, server: TokenServer) -> Wanted:
    return Wanted(str(webhook.id), server.credentials(), new_id_text())


def test_a_stopping_loop_releases_what_waits_at_once_and_keeps_the_token_that_still_comes(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = receiver.gate()
    receiver.script("/token", (gate, LATE_TOKEN))
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(3)
    stop = threading.Event()
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    loop = running(settings)
    receiver.wait_for(1, path="/token")
    stop.set()
    wait_until(lambda: states(database) == [("ready", None, 0)] * 3)
    gate.open()
    loop.join(30)
    assert not loop.is_alive()
    assert receiver.at("/hook") == []
    stop.clear()
    assert deliver_all(settings)["delivered"] == 3
    assert shown(receiver) == ["Bearer token-late"] * 3
    assert len(server.asked) == 1


def test_a_stopping_loop_does_not_wait_for_a_token_longer_than_its_grace_time(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.script("/token", HANG)
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    stop = threading.Event()
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    loop = running(settings.model_copy(update={"grace_seconds": 0.2}))
    receiver.wait_for(1, path="/token")
    stop.set()
    loop.join(10)
    assert not loop.is_alive()
    assert states(database) == [("ready", None, 0)]


def test_a_refusal_seen_while_the_worker_stops_discards_nothing(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(401)), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    stop = threading.Event()
    monkeypatch.setattr(deliver, "is_stopping", stop.is_set)
    loop = running(settings)
    receiver.wait_for(1, path="/hook")
    stop.set()
    gate.open()
    loop.join(30)
    assert states(database) == [("ready", None, 0)]
    stop.clear()
    assert deliver_all(settings)["delivered"] == 1
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]


def test_a_refusal_that_cannot_be_recorded_discards_nothing(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "DATABASE_PAUSE", 0.05)
    fail_once(monkeypatch, "refuse")
    receiver.script("/hook", Answer(401), Answer(401), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    assert deliver_all(settings)["delivered"] == 1
    assert shown(receiver) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    assert states(database) == [("delivered", None, 1)]


@pytest.mark.parametrize("status", [401, 200])
def test_locked_tokens_keep_no_other_webhook_and_what_receivers_said_of_them_counts(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer, status: int
) -> None:
    for _ in range(6):
        make_webhook(
            database, settings, url=receiver.url("/hook"), event_types=["mine"], authorization=server.credentials()
        )
    make_webhook(database, settings, url=receiver.url("/other"), event_types=["other"])
    store(1, "mine")
    deliver_all(settings)
    change(database, "UPDATE dispatcher.tokens SET after_refusal = :new", new=status == 200)
    gate, refused = receiver.gate(), set(shown(receiver)) if status == 401 else set()
    receiver.script("/hook", lambda request: (gate, final(401 if request.header("Authorization") in refused else 200)))
    store(4, "mine")
    loop = running(settings)
    receiver.wait_for(6 + 24, path="/hook")
    with database.begin() as connection:
        connection.execute(text("SELECT 1 FROM dispatcher.tokens FOR UPDATE"))
        gate.open()
        store(1, "other")
        began = monotonic()
        receiver.wait_for(1, path="/other")
        assert monotonic() - began < 1.5
    store(1, "mine")
    loop.join(30)
    deliver_all(settings)
    assert states(database) == [("delivered", None, 1)] * (6 + 24 + 1 + 6)
    assert len(server.asked) == (12 if status == 401 else 6)
    assert not rows(database, "SELECT 1 FROM dispatcher.tokens WHERE after_refusal")


def test_a_webhook_that_somebody_has_locked_keeps_no_other_from_its_token(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    locked = make_webhook(
        database, settings, url=receiver.url("/locked"), event_types=["locked"], authorization=server.credentials()
    )
    make_webhook(
        database, settings, url=receiver.url("/other"), event_types=["other"], authorization=server.credentials()
    )
    with database.begin() as connection:
        connection.execute(text("SELECT 1 FROM dispatcher.webhooks WHERE id = :id FOR UPDATE"), {"id": locked.id})
        store(1, "locked")
        store(1, "other")
        loop = running(settings)
        receiver.wait_for(1, path="/other")
        assert not receiver.at("/locked")
    loop.join(30)
    assert states(database) == [("delivered", None, 1)] * 2


@pytest.mark.parametrize("step", ["look", "put", "fetch_failed"])
def test_what_waits_for_a_token_survives_a_database_that_is_away(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    monkeypatch.setattr(deliver, "DATABASE_PAUSE", 0.05)
    fail_once(monkeypatch, step)
    if step == "fetch_failed":
        receiver.script("/token", Answer(503))
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(2)
    done = deliver_all(settings)
    assert (done["delivered"], done["retried"]) == ((0, 2) if step == "fetch_failed" else (2, 0))
    assert len(server.asked) == 1


def test_a_database_that_is_away_is_not_asked_for_tokens_all_the_time(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, asked_at = TokenStore.look, []

    def fail_thrice(*arguments: Any) -> Any:
        asked_at.append(monotonic())
        if len(asked_at) <= 3:
            raise OperationalError("a test", {}, psycopg2.OperationalError())
        return real(*arguments)

    monkeypatch.setattr(deliver, "DATABASE_PAUSE", 0.2)
    monkeypatch.setattr(TokenStore, "look", fail_thrice)
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    assert deliver_all(settings)["delivered"] == 1
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(asked_at[:4]))


def fail_once(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The database is away the first time that this is done with tokens."""
    real, failed = getattr(TokenStore, step), []

    def fail(*arguments: Any, **options: Any) -> Any:
        if not failed:
            failed.append(1)
            raise OperationalError("a test", {}, psycopg2.OperationalError())
        return real(*arguments, **options)

    monkeypatch.setattr(TokenStore, step, fail)


def test_what_would_wait_longer_than_its_claim_allows_is_released_and_nothing_is_fetched_for_it(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    context = worker_for(settings)
    timing, handled = context.installation.timing, list[str]()
    tokens = Tokens(
        context.loop_engine,
        context.token_store,
        context.transport,
        timing,
        clock=DatabaseClock(),
        handle=handled.extend,
        counts=context.counts,
    )
    request = Request("an-id", "POST", receiver.url("/hook"), (), b"", 10, 30)
    tokens.await_one(str(webhook.id), server.credentials(), request, monotonic() + 29)
    assert tokens.settle(stopping=False) == [("an-id", None)]
    tokens.await_one(str(webhook.id), server.credentials(), request, monotonic() + 31)
    assert tokens.settle(stopping=False) == []
    assert (tokens.fetching, handled) == (1, ["an-id"])
    context.drop_transport()


@pytest.mark.parametrize("transport", [CurlTransport, RequestsTransport])
def test_token_servers_of_one_account_whose_names_hang_do_not_hold_up_another_account(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer, transport: type[Transport]
) -> None:
    released = threading.Event()

    def resolve(host: str, port: int, **options: Any) -> Any:
        if host.startswith("hanging"):
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no server")
        return socket.getaddrinfo("127.0.0.1", port, **options)

    for number in range(DNS_LOOKUPS + 6):
        hanging = server.credentials(endpoint=f"http://hanging-{number}.example/token")
        make_webhook(database, settings, account="big", url=receiver.url("/big"), authorization=hanging)
    endpoint = f"http://tokens.example:{receiver.port}/token"
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials(endpoint=endpoint))
    worker = worker_for(settings)
    worker.__dict__["transport"] = transport(capacity=150, addresses=LOOPBACK, resolve=resolve)  # type: ignore[call-arg]
    enqueue(RECEIVED, MESSAGE, account="big")
    loop = threading.Thread(target=DeliveryLoop(worker).run)
    loop.start()
    try:
        wait_until(lambda: len([row for row in deliveries(database) if row.state == "claimed"]) == DNS_LOOKUPS + 6)
        began = monotonic()
        store(1)
        receiver.wait_for(1, path="/hook")
        took = monotonic() - began
    finally:
        released.set()
        loop.join(30)
    assert not loop.is_alive()
    assert took < CONNECT_SECONDS / 2  # the others hang longer
    assert shown(receiver) == ["Bearer token-1"]
    assert receiver.at("/big") == []


# Webhooks that change meanwhile


def test_a_token_of_credentials_that_were_changed_meanwhile_is_neither_kept_nor_shown_with_new_ones(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    gate = receiver.gate()
    receiver.script("/token", (gate, LATE_TOKEN), lambda _: server.issue())
    webhook = make_webhook(
        database, settings, url=receiver.url("/hook"), authorization=server.credentials("old"), event_types=["one"]
    )
    store(1, "one")
    loop = running(settings)
    receiver.wait_for(1, path="/token")
    changed = {"authorization": server.credentials("new"), "url": receiver.url("/new"), "event_types": ["*"]}
    change_webhook(database, settings, webhook, "update", **changed)
    store(1, "two")
    receiver.wait_for(1, path="/new")
    gate.open()
    loop.join(30)
    assert shown(receiver, "/hook") == ["Bearer token-late"]  # claimed before the change
    store(1, "two")
    deliver_all(settings)
    assert shown(receiver, "/new") == ["Bearer token-1"] * 2
    assert len(server.asked) == 2


def test_a_row_that_a_slow_worker_left_with_older_credentials_is_no_obstacle(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials("old"))
    store(1)
    deliver_all(settings)
    leave_row_behind(database, settings, webhook, "update", authorization=server.credentials("new"))
    store(1)
    assert deliver_all(settings)["delivered"] == 1
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]


def test_a_webhook_that_is_deleted_while_its_token_is_fetched_leaves_none_behind(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    gate = receiver.gate()
    receiver.script("/token", (gate, LATE_TOKEN))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    loop = running(settings)
    receiver.wait_for(1, path="/token")
    change_webhook(database, settings, webhook, "delete")
    gate.open()
    loop.join(30)
    assert rows(database, "SELECT * FROM dispatcher.tokens") == []


def test_a_row_that_a_slow_worker_left_for_a_deleted_webhook_gets_no_token(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    gate = receiver.gate()
    receiver.script("/token", (gate, LATE_TOKEN))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    loop = running(settings)
    receiver.wait_for(1, path="/token")
    leave_row_behind(database, settings, webhook, "delete")
    gate.open()
    loop.join(30)
    assert rows(database, "SELECT token_ciphertext FROM dispatcher.tokens") == [(None,)]


def leave_row_behind(database: Engine, settings: Settings, webhook: Webhook, change_to: str, **fields: Any) -> None:
    """Changes a webhook; its row of tokens is as one that another worker commits only after that."""
    with database.begin() as connection:
        (row,) = connection.execute(TOKENS.select()).mappings().all()
    change_webhook(database, settings, webhook, change_to, **fields)
    assert rows(database, "SELECT * FROM dispatcher.tokens") == []
    with database.begin() as connection:
        connection.execute(TOKENS.insert(), dict(row))


def test_what_waits_for_the_token_of_a_webhook_that_is_deleted_ends_as_that(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    receiver.script("/token", Answer(503))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    deliver_all(settings)
    store(1)
    loop = running(settings)  # waits for the next fetch's turn
    wait_until(lambda: rows(database, "SELECT 1 FROM dispatcher.deliveries WHERE state = 'claimed'"))
    change_webhook(database, settings, webhook, "delete")
    loop.join(4)  # that turn is 5 s away
    assert not loop.is_alive()
    upkeep_once(settings)
    assert states(database)[1] == ("discarded", "webhook_deleted", 0)
    assert len(server.asked) == 1
    assert rows(database, "SELECT * FROM dispatcher.tokens") == []


# Secrets


def everything_stored(database: Engine) -> str:
    """All rows of all tables as text, bytes decoded."""
    found = []
    with database.connect() as connection:
        for table in Base.metadata.sorted_tables:
            for row in connection.execute(text(f"SELECT * FROM {table.schema}.{table.name}")):
                values = [bytes(value) if isinstance(value, memoryview) else value for value in row]
                found += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values]
    return "\n".join(found)


@pytest.mark.parametrize("how", TokenRequest)
def test_neither_a_token_nor_what_it_is_fetched_with_is_seen_in_rows_or_logs(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    how: TokenRequest,
) -> None:
    planted = ["planted-token-91", "planted-other-token-92", CLIENT_SECRET, "planted-client-id", "planted-path-93"]
    first = {"access_token": planted[0]}
    second = {"access_token": planted[1], "expires_in": 60}
    receiver.script("/planted-path-93", as_json(first), as_json(second), Answer(400, body=planted[0].encode()))
    credentials = server.credentials("planted-client-id", token_request=how, endpoint=receiver.url("/planted-path-93"))
    make_webhook(
        database, settings, url=receiver.url("/hook"), authorization=credentials, contact_email="a@example.com"
    )
    receiver.script("/hook", Answer(401), Answer(200), Answer(500), Answer(404))
    caplog.set_level("DEBUG")
    for _ in range(3):
        store(1)
        deliver_all(settings)
    change(database, "UPDATE dispatcher.tokens SET expires_at = now()")
    store(1)
    deliver_all(settings)
    assert [row[0] for row in states(database)] == ["delivered", "waiting", "discarded", "waiting"]
    assert set(shown(receiver)) == {f"Bearer {token}" for token in planted[:2]}
    told = "".join([*capfd.readouterr(), caplog.text])
    assert "token fetched" in told
    assert "token refused" in told
    assert "the token server answered 400" in told
    stored = everything_stored(database)
    assert "Authorization: Bearer ***" in stored
    for secret in planted:
        for shape in (secret, base64.b64encode(secret.encode()).decode()[:-4]):
            assert shape not in told
            assert shape not in stored


def test_what_holds_a_token_does_not_show_it(database: Engine, settings: Settings) -> None:
    token = Token("an-id", "planted-token", monotonic(), after_refusal=False)
    need = Wanted("a-webhook", ClientCredentials("https://auth.example/", "a-client", "planted-secret"), "an-id")
    assert "planted" not in repr((token, need))


def test_https_only_holds_for_the_token_server(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    with pytest.raises(InvalidWebhook, match=r"client_credentials.endpoint may not be called: plain http"):
        make_webhook(
            database,
            settings,
            url="https://hooks.example.com/",
            contract={"https_only": True},
            authorization=server.credentials(),
        )
    # One that was stored before that was looked at.
    make_webhook(database, settings, url="https://127.0.0.1:9/", authorization=server.credentials())
    change(database, """UPDATE dispatcher.webhooks SET contract = '{"https_only": true}', version = version + 1""")
    store(1)
    deliver_all(settings)
    assert receiver.received == []
    assert [row.failure_detail for row in attempts(database)] == ["no answer from the token server (address_refused)"]
