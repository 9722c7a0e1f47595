"""Tokens of one webhook on their way: fetched, kept, shared, renewed, refused. What goes wrong is in the other file."""

import threading
import time
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.receiver_auth.credentials import Basic, TokenRequest
from dispatcher.settings import Settings
from dispatcher.transport.exchange import Request
from dispatcher.version import USER_AGENT
from schedules.timing import REAL_TIME
from tests.behaviours import GARBAGE, Answer, Received
from tests.factories import (
    MESSAGE,
    TESTER,
    attempts,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_webhook,
    rows,
)
from tests.installations import worker_for
from tests.integration.workers.tokens.token_server import TokenServer, shown, store
from tests.receiver import Receiver
from workers.loop import DeliveryLoop
from workers.tokens.store import TokenStore


def end_token(database: Engine) -> None:
    """Its time is over, for those who ask the database."""
    change(database, "UPDATE dispatcher.tokens SET expires_at = now()")


# Fetching


def test_a_token_is_fetched_once_and_shown_with_every_callback(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, either, url=receiver.url("/hook"), authorization=server.credentials())
    store(30)
    assert deliver_all(either)["delivered"] == 30
    assert len(server.asked) == 1
    assert shown(receiver) == ["Bearer token-1"] * 30
    assert {(row.state, row.attempt_count) for row in deliveries(database)} == {("delivered", 1)}


@pytest.mark.parametrize(
    ("how", "headers", "body"),
    [
        (
            TokenRequest.BASIC,
            "Authorization: Basic dGhlK2NsaWVudDpwbGFudGVkLWNsaWVudC1zZWNyZXQ=\r\nContent-Length: 29\r\n\r\n",
            "grant_type=client_credentials",
        ),
        (
            TokenRequest.FORM,
            "Content-Length: 86\r\n\r\n",
            "grant_type=client_credentials&client_id=the+client&client_secret=planted-client-secret",
        ),
    ],
)
def test_the_token_request_is_to_the_byte_what_the_rfc_says(
    database: Engine,
    either: Settings,
    receiver: Receiver,
    server: TokenServer,
    how: TokenRequest,
    headers: str,
    body: str,
) -> None:
    credentials = server.credentials(client_id="the client", token_request=how)
    make_webhook(database, either, url=receiver.url("/hook"), authorization=credentials)
    store(1)
    deliver_all(either)
    (asked,) = server.asked
    assert asked.head.decode() == (
        f"POST /token HTTP/1.1\r\nHost: 127.0.0.1:{receiver.port}\r\nUser-Agent: {USER_AGENT}\r\n"
        f"Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}"
    )
    assert asked.body.decode() == body


def test_scope_and_response_type_are_asked_for(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    credentials = server.credentials(scope="hooks read", response_type="token")
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=credentials)
    store(1)
    deliver_all(settings)
    assert server.asked[0].body == b"grant_type=client_credentials&scope=hooks+read&response_type=token"


def test_each_webhook_has_a_token_of_its_own(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    for n in range(3):
        make_webhook(database, settings, url=receiver.url(f"/hook/{n}"), authorization=server.credentials())
    store(5)
    assert deliver_all(settings)["delivered"] == 15
    assert len(server.asked) == 3
    each = [set(shown(receiver, f"/hook/{n}")) for n in range(3)]
    assert all(len(tokens) == 1 for tokens in each)
    assert set().union(*each) == {"Bearer token-1", "Bearer token-2", "Bearer token-3"}


def test_callback_and_token_request_take_the_turns_of_the_webhooks_account(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    worker = worker_for(settings)
    send, sent = worker.transport.send, []

    def note(request: Request) -> None:
        sent.append((request.url, request.account))
        send(request)

    monkeypatch.setattr(worker.transport, "send", note)
    assert DeliveryLoop(worker).run()["delivered"] == 1
    account = str(webhook.account_id)
    assert sent == [(receiver.url("/token"), account), (receiver.url("/hook"), account)]


def test_webhooks_without_client_credentials_have_none(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    make_webhook(database, settings, url=receiver.url("/basic"), authorization=Basic("a", "b"))
    make_webhook(database, settings, url=receiver.url("/none"))
    store(1)
    deliver_all(settings)
    assert (shown(receiver, "/basic"), shown(receiver, "/none")) == (["Basic YTpi"], [None])


def test_a_batch_shows_the_token_too(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    contract = {"batch_size": 10}
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials(), contract=contract)
    store(20)
    deliver_all(settings)
    assert [callback.json() for callback in receiver.at("/hook")] == [[MESSAGE] * 10] * 2
    assert shown(receiver) == ["Bearer token-1"] * 2
    assert len(server.asked) == 1


# Keeping


def test_a_token_is_kept_encrypted_for_loops_that_start_later(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    for _ in range(3):
        store(2)
        deliver_all(settings)  # as a new process would
    assert len(server.asked) == 1
    assert shown(receiver) == ["Bearer token-1"] * 6
    (row,) = rows(database, "SELECT *, expires_at - now() AS lasts FROM dispatcher.tokens")
    assert b"token-1" not in bytes(row.token_ciphertext)
    assert 3580 < row.lasts.total_seconds() <= 3590


@pytest.mark.parametrize(("expires_in", "lasts"), [(3600, 3590), (60, 54), (86_400, 3590), (5, 4.5)])
def test_a_token_is_used_until_shortly_before_its_end(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer, expires_in: int, lasts: float
) -> None:
    server.expires_in = expires_in
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    deliver_all(settings)
    (row,) = rows(database, "SELECT expires_at - next_fetch_at AS lasts FROM dispatcher.tokens")
    assert row.lasts.total_seconds() == lasts


def test_two_loops_at_once_fetch_one_token(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer
) -> None:
    server.delay = 0.3
    make_webhook(database, either, url=receiver.url("/hook"), authorization=server.credentials())
    store(40)
    loops = [threading.Thread(target=deliver_all, args=(either,)) for _ in range(3)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(60)
    assert len(server.asked) == 1
    assert shown(receiver) == ["Bearer token-1"] * 40


def test_a_token_whose_time_is_over_is_fetched_anew(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    for _ in range(2):
        store(1)
        deliver_all(settings)
        end_token(database)
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]


def test_a_process_forgets_a_token_when_its_time_is_over(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.expires_in = 60
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    context, passed = worker_for(settings), 0
    monkeypatch.setattr("workers.tokens.store.monotonic", lambda: time.monotonic() + passed)
    for passed in (0, 50, 60):
        store(1)
        if passed == 60:
            end_token(database)
        DeliveryLoop(context).run()
    context.drop_transport()
    assert shown(receiver) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_a_token_that_does_not_last_serves_those_that_waited_for_it(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    server.expires_in = 0
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(2)
    assert deliver_all(settings)["delivered"] == 2
    assert shown(receiver) == ["Bearer token-1"] * 2


def test_a_redelivery_shows_the_token_as_it_is_now(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    deliver_all(settings)
    end_token(database)
    (delivery,) = deliveries(database)
    with Session(database) as session, session.begin():
        redeliver(session, find_account(session, "acme"), delivery.id, REAL_TIME, by=TESTER)
    deliver_all(settings)
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]


def test_a_change_of_the_authorization_or_a_deletion_wipes_the_token_and_no_other_change_does(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())

    def kept_after(**fields: object) -> bool:
        change_webhook(database, settings, webhook, "update" if fields else "delete", **fields)
        return bool(rows(database, "SELECT 1 FROM dispatcher.tokens"))

    store(1)
    deliver_all(settings)
    assert kept_after(url=receiver.url("/new"))
    assert kept_after(contract={"timeout_seconds": 5})
    store(1)
    deliver_all(settings)
    assert shown(receiver, "/new") == ["Bearer token-1"]
    assert not kept_after(authorization=server.credentials(client_id="another"))
    store(1)
    deliver_all(settings)
    assert shown(receiver, "/new") == ["Bearer token-1", "Bearer token-2"]
    assert not kept_after()


def test_a_process_that_knows_the_old_token_fetches_one_with_new_credentials(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    context = worker_for(settings)
    for client in ("one", "other"):
        change_webhook(database, settings, webhook, "update", authorization=server.credentials(client_id=client))
        store(1)
        DeliveryLoop(context).run()
    context.drop_transport()
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]


def test_a_token_that_no_key_opens_any_more_is_fetched_anew(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1)
    deliver_all(settings)
    change(database, "UPDATE dispatcher.tokens SET token_ciphertext = 'of another key'")
    store(1)
    assert deliver_all(settings)["delivered"] == 1
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]


# Refusal


def refuse(receiver: Receiver, *tokens: str) -> None:
    """From now on the receiver takes all tokens but these."""
    refused = {f"Bearer {token}" for token in tokens}
    receiver.script("/hook", lambda request: Answer(401 if request.header("Authorization") in refused else 200))


def test_a_refused_token_is_fetched_anew_and_the_same_attempt_goes_once_more(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer
) -> None:
    nonce = {"nonce_signature": {"header": "x-signature"}}
    make_webhook(
        database,
        either,
        url=receiver.url("/hook"),
        authorization=server.credentials(),
        contract=nonce,
        nonce_secret="secret",
    )
    refuse(receiver, "token-1")
    store(1)
    assert deliver_all(either) == {"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}
    assert shown(receiver) == ["Bearer token-1", "Bearer token-2"]
    first, second = receiver.at("/hook")
    assert first.header("Dispatcher-Attempt") == second.header("Dispatcher-Attempt") == "1"
    assert first.header("x-signature-nonce") != second.header("x-signature-nonce")  # or it would be a replay
    (attempt,) = attempts(database)
    assert (attempt.number, attempt.status) == (1, 200)
    assert str(attempt.request_id) == second.header("Dispatcher-Request-Id")
    assert recorded(database) == [
        (first.header("Dispatcher-Request-Id"), 401, None, 1, None),
        (second.header("Dispatcher-Request-Id"), 200, "acknowledged", 1, first.header("Dispatcher-Request-Id")),
    ]


def recorded(database: Engine) -> list[tuple[Any, ...]]:
    """The requests, oldest first."""
    columns = "id::text, status, verdict, messages, replaces::text"
    return [tuple(row) for row in rows(database, f"SELECT {columns} FROM dispatcher.requests ORDER BY started_at")]


def test_the_refused_request_of_a_batch_is_recorded_once(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    batches = {"batch_size": 10}
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials(), contract=batches)
    refuse(receiver, "token-1")
    store(3)
    assert deliver_all(settings)["delivered"] == 3
    first, second = [request.header("Dispatcher-Request-Id") for request in receiver.at("/hook")]
    assert recorded(database) == [(first, 401, None, 3, None), (second, 200, "acknowledged", 3, first)]


def test_a_token_that_ends_early_is_renewed_once_for_all_that_showed_it(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, either, url=receiver.url("/hook"), authorization=server.credentials())
    refuse(receiver, "token-1")
    store(30)
    assert deliver_all(either)["delivered"] == 30
    assert len(server.asked) == 2
    assert set(shown(receiver)) == {"Bearer token-1", "Bearer token-2"}


def test_a_receiver_that_refuses_everything_costs_two_tokens_and_not_one_for_each_delivery(
    database: Engine, either: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, either, url=receiver.url("/hook"), authorization=server.credentials())
    receiver.script("/hook", Answer(401))
    store(20)
    assert deliver_all(either)["discarded"] == 20
    assert len(server.asked) == 2
    assert {(row.reason, row.attempt_count) for row in deliveries(database)} == {("rejected", 1)}
    assert {row.status for row in attempts(database)} == {401}
    store(5)
    deliver_all(either)  # another process
    assert len(server.asked) == 2
    end_token(database)
    store(5)
    deliver_all(either)
    assert len(server.asked) == 3  # its life is over; nothing was accepted meanwhile


def test_once_a_new_token_was_accepted_it_can_be_renewed_again(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    refused: list[str] = []
    for n in range(1, 5):
        refused.append(f"token-{n}")
        refuse(receiver, *refused)
        store(1)
        assert deliver_all(settings)["delivered"] == 1
    assert len(server.asked) == 5


def test_a_message_that_is_always_refused_goes_no_more_than_twice_while_others_are_accepted(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    def answer(request: Received) -> Answer:
        if request.header("Authorization") == "Bearer token-1":
            return Answer(401)
        return Answer(401, delay=0.3) if request.header("Dispatcher-Event-Type") == "bad" else Answer(200)

    receiver.script("/hook", answer)
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    store(1, "bad")
    store(1, "good")
    done = deliver_all(settings)
    assert (done["delivered"], done["discarded"]) == (1, 1)
    assert [request.header("Dispatcher-Event-Type") for request in receiver.at("/hook")].count("bad") == 2
    assert len(server.asked) == 2


def test_that_a_token_is_accepted_is_written_once(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, written = TokenStore.accept, []

    def count(*arguments: Any) -> None:
        written.append(arguments)
        real(*arguments)

    monkeypatch.setattr(TokenStore, "accept", count)
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    refuse(receiver, "token-1")
    context = worker_for(settings)
    for _ in range(4):
        store(1)
        DeliveryLoop(context).run()
    assert context.concurrency_limits.in_flight == 0
    context.drop_transport()
    assert shown(receiver) == ["Bearer token-1"] + ["Bearer token-2"] * 4
    assert len(written) == 1


def test_that_another_process_saw_a_token_accepted_counts(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    context = worker_for(settings)
    receiver.script("/hook", Answer(401), GARBAGE, Answer(200))
    store(1)
    DeliveryLoop(context).run()  # knows token-2, fetched after a refusal, and no answer to it
    assert rows(database, "SELECT after_refusal FROM dispatcher.tokens") == [(True,)]
    store(1)
    deliver_all(settings)
    assert rows(database, "SELECT after_refusal FROM dispatcher.tokens") == [(False,)]
    refuse(receiver, "token-2")
    store(1)
    assert DeliveryLoop(context).run()["delivered"] == 1
    context.drop_transport()
    assert len(server.asked) == 3


def test_a_process_that_shows_a_token_which_another_has_renewed_takes_the_new_one(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    late = worker_for(settings)
    store(1)
    DeliveryLoop(late).run()
    refuse(receiver, "token-1")
    store(1)
    deliver_all(settings)
    store(1)
    assert DeliveryLoop(late).run()["delivered"] == 1
    late.drop_transport()
    assert len(server.asked) == 2
    assert shown(receiver) == [f"Bearer token-{n}" for n in (1, 1, 2, 1, 2)]


def test_a_rule_for_401_judges_the_second_refusal(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    rules = {"401": {"verdict": "temporary"}}
    make_webhook(
        database,
        settings,
        url=receiver.url("/hook"),
        authorization=server.credentials(),
        contract={"rules": rules},
    )
    receiver.script("/hook", Answer(401))
    store(1)
    assert deliver_all(settings)["retried"] == 1
    assert len(receiver.at("/hook")) == len(server.asked) == 2


def test_other_refusals_are_no_matter_of_the_token(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), authorization=server.credentials())
    receiver.script("/hook", Answer(403))
    store(1)
    assert deliver_all(settings)["discarded"] == 1
    assert len(receiver.at("/hook")) == len(server.asked) == 1


def test_a_401_to_basic_credentials_is_judged_as_ever(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/status/401"), authorization=Basic("a", "b"))
    store(1)
    assert deliver_all(settings)["discarded"] == 1
    assert len(receiver.received) == 1
