"""Callbacks are signed over the bytes that arrive, at the time of their attempt, on both transports."""

import base64
import hashlib
import hmac
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Verifier

from dispatcher import enqueue
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.models import Webhook
from dispatcher.receiver_auth.credentials import Bearer
from dispatcher.settings import Settings
from dispatcher.signing.keys import KeyKind, SigningKey, generate_signing_key
from dispatcher.webhooks.secrets import WebhookSecrets
from dispatcher.webhooks.store import Webhooks
from tests.behaviours import Answer, Received
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change_webhook,
    deliver_all,
    make_due,
    make_webhook,
    sweep_once,
)
from tests.installations import installation_for
from tests.receiver import Receiver
from tests.sinch_events import sinch_events

HEADERS = {"X-Api-Key": "planted-header", "x-tenant": "planted-tenant"}


@pytest.fixture(params=["curl", "requests"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"transport": request.param})


def secrets_of(database: Engine, settings: Settings, webhook: Webhook) -> WebhookSecrets:
    with Session(database) as session, session.begin():
        return Webhooks(session, installation_for(settings)).read(None, webhook.id).secrets


def believed(callback: Received, key: SigningKey) -> Any:
    """What the standard's own library takes the callback for; raises where it does not believe it."""
    return Verifier(key.secret).verify(callback.body, dict(callback.headers))


def test_a_webhook_is_signed_without_being_asked_to(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    (key,) = secrets_of(database, settings, webhook).signing_keys
    accepted = enqueue(RECEIVED, {"body": "Grüße 👋", "cost": 1.50}, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert believed(callback, key) == [{"body": "Grüße 👋", "cost": 1.5}]
    assert callback.header("webhook-id") == str(accepted.event_id)


def test_each_attempt_is_signed_at_its_own_time_and_keeps_its_id(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.script("/hook", Answer(503), Answer(204))
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    (key,) = secrets_of(database, settings, webhook).signing_keys
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    make_due(database)
    sweep_once(settings)
    monkeypatch.setattr(DatabaseClock, "timestamp", lambda clock: time.time() + 100)
    deliver_all(settings)
    first, second = receiver.received
    assert believed(first, key) == believed(second, key) == [MESSAGE]
    assert first.header("webhook-id") == second.header("webhook-id")
    times = [int(callback.header("webhook-timestamp") or 0) for callback in (first, second)]
    assert 100 <= times[1] - times[0] <= 160


def test_while_a_key_is_changed_the_receiver_can_check_with_either(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    (old,) = secrets_of(database, settings, webhook).signing_keys
    new = generate_signing_key(KeyKind.ED25519)
    change_webhook(database, settings, webhook, "rotate_signing_key", new=new, overlap=timedelta(hours=1))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    change_webhook(database, settings, webhook, "rotate_signing_key", new=generate_signing_key(), overlap=timedelta(0))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    during, after = receiver.received
    assert believed(during, old) == [MESSAGE]
    assert new.public_key is not None
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(new.public_key.removeprefix("whpk_")))
    first, _ = (during.header("webhook-signature") or "").split(" ")
    signed = f"{during.header('webhook-id')}.{during.header('webhook-timestamp')}.".encode() + during.body
    public.verify(base64.b64decode(first.removeprefix("v1a,")), signed)
    (current,) = secrets_of(database, settings, webhook).signing_keys
    assert believed(after, current) == [MESSAGE]
    assert (after.header("webhook-signature") or "").count(",") == 1


def test_other_senders_signatures_stand_beside_ours(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(
        database,
        settings,
        url=receiver.url("/hook"),
        contract={
            "envelope": "object",
            "body_signature": {"header": "X-Old-Signature", "digest": "sha512", "encoding": "base64"},
            "nonce_signature": {"header": "x-sinch-webhook-signature"},
        },
        body_secret="old secret",
        nonce_secret="foo_secret1234",
    )
    message = b'{"project_id":"p","app_id":"a","id":634151298329219072,"text":"caf\xc3\xa9"}'
    for _ in range(2):
        enqueue(RECEIVED, message, account="acme")
    deliver_all(settings)
    checker = sinch_events("foo_secret1234")
    for callback in receiver.received:
        assert callback.body == message
        believed(callback, secrets_of(database, settings, webhook).signing_keys[0])
        made = hmac.digest(b"old secret", message, hashlib.sha512)
        assert callback.header("X-Old-Signature") == base64.b64encode(made).decode()
        assert checker.validate_authentication_header(dict(callback.headers), callback.body)
    assert len({callback.header("x-sinch-webhook-signature-nonce") for callback in receiver.received}) == 2


def test_a_batch_is_signed_as_the_request_that_it_is(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    for number in range(3):
        enqueue(RECEIVED, {"id": number}, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    (key,) = secrets_of(database, settings, webhook).signing_keys
    assert believed(callback, key) == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert callback.header("webhook-id") == callback.header("Dispatcher-Request-Id")


def test_with_get_the_signature_is_over_an_empty_body(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), contract={"method": "GET"})
    enqueue(RECEIVED, {"id": 1}, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert callback.body == b""
    (key,) = secrets_of(database, settings, webhook).signing_keys
    Verifier(key.secret).verify(b"", dict(callback.headers), json_parse=False)


def test_own_headers_and_a_bearer_token_are_sent_and_recorded_masked(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(
        database,
        settings,
        url=receiver.url("/hook"),
        authorization=Bearer("planted-token"),
        headers=HEADERS,
        signing_keys=[],
    )
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (callback,) = receiver.received
    assert callback.header("Authorization") == "Bearer planted-token"
    assert (callback.header("X-Api-Key"), callback.header("x-tenant")) == ("planted-header", "planted-tenant")
    assert callback.header("webhook-id") is None
    (attempt,) = attempts(database)
    assert {"Authorization: Bearer ***", "X-Api-Key: ***", "x-tenant: ***"} <= set(attempt.headers_masked.split("\n"))
    assert "planted" not in attempt.headers_masked
    # What is not given in a change stays.
    change_webhook(database, settings, webhook, "update", authorization=None, url=receiver.url("/moved"))
    assert secrets_of(database, settings, webhook) == WebhookSecrets(headers=HEADERS)
