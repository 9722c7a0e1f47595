"""Signing keys over HTTP: given out, rotated with an overlap; and what is never given out."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine
from standardwebhooks import Webhook as Verifier

from dispatcher import enqueue
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from dispatcher.signing.keys import generate_signing_key
from tests.factories import deliver_all, make_webhook, rows
from tests.integration.api.conftest import Api, errors
from tests.receiver import Receiver

URL = "https://hooks.example.com/in?key=planted-url"


def test_url_and_signing_keys_are_shown_in_clear_other_secrets_never(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    key = generate_signing_key()
    webhook = make_webhook(
        database,
        settings,
        url=URL,
        signing_keys=[key],
        authorization=Basic("user", "planted-password"),
        headers={"X-Key": "planted-header"},
        contract={"body_signature": {"header": "X-Signature"}},
        body_secret="planted-secret",
    )
    answer = api.call("GET", f"/v1/webhooks/{webhook.id}/secrets", token=manager)
    assert answer.json() == {
        "url": URL,
        "signing_keys": [{"kind": "hmac", "secret": key.secret, "public_key": None, "until": None}],
    }
    shown = api.call("GET", f"/v1/webhooks/{webhook.id}", token=manager)
    assert "planted" not in shown.text
    assert key.secret not in shown.text


def test_during_the_overlap_callbacks_carry_both_signatures(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    path = f"/v1/webhooks/{webhook.id}"
    (old,) = api.call("GET", f"{path}/secrets", token=manager).json()["signing_keys"]
    ((before,),) = rows(database, "SELECT now()")
    rotated = api.call("POST", f"{path}/rotate-secret", {"overlap_seconds": 60}, token=manager)
    new, kept = rotated.json()["signing_keys"]
    assert (rotated.status_code, new["until"], kept["secret"]) == (200, None, old["secret"])
    changed = datetime.fromisoformat(rotated.json()["updated_at"])
    # The overlap counts by the database's clock from when the keys were read, before they were written.
    assert before <= datetime.fromisoformat(kept["until"]) - timedelta(seconds=60) <= changed
    enqueue("message.sent", {"id": 1}, account="acme")
    deliver_all(settings)
    (request,) = receiver.received
    for key in (old, new):
        Verifier(key["secret"]).verify(request.body, dict(request.headers))
    assert api.call("GET", f"{path}/secrets", token=manager).json()["signing_keys"] == [new, kept]


@pytest.mark.parametrize(
    ("body", "kind", "others"), [({"overlap_seconds": 0, "kind": "ed25519"}, "ed25519", 0), ({}, "hmac", 1)]
)
def test_kind_and_overlap_are_chosen(
    api: Api, manager: str, database: Engine, settings: Settings, body: dict[str, object], kind: str, others: int
) -> None:
    webhook = make_webhook(database, settings, url=URL)
    answer = api.call("POST", f"/v1/webhooks/{webhook.id}/rotate-secret", body, token=manager).json()
    newest, *older = answer["signing_keys"]
    assert (newest["kind"], len(older)) == (kind, others)


def test_a_key_that_the_receiver_has_can_be_given(api: Api, manager: str, database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL)
    path = f"/v1/webhooks/{webhook.id}/rotate-secret"
    mine = generate_signing_key().secret
    assert api.call("POST", path, {"signing_key": mine}, token=manager).json()["signing_keys"][0]["secret"] == mine
    for body, field in (
        ({"signing_key": "whsec_planted"}, "signing_key"),
        ({"signing_key": mine, "kind": "hmac"}, "signing_key"),
        ({"kind": "rsa"}, "kind"),
        ({"overlap_seconds": -1}, "overlap_seconds"),
        ({"overlap_seconds": 30 * 24 * 3600 + 1}, "overlap_seconds"),
    ):
        refused = api.call("POST", path, body, token=manager)
        assert (refused.status_code, list(errors(refused))) == (422, [field])
        assert "planted" not in refused.text
    assert rows(database, "SELECT version FROM dispatcher.webhooks")[0].version == 2
