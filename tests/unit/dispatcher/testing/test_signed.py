"""`signed_request` makes what the engine sends, byte for byte."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from dispatcher.dialects.bulksms import fields as bulksms
from dispatcher.dialects.everlytic import fields as everlytic
from dispatcher.dialects.flexengage import fields as flexengage
from dispatcher.dialects.sinch import fields as sinch
from dispatcher.dialects.zipwhip import fields as zipwhip
from dispatcher.errors import InvalidEvent, InvalidWebhook
from dispatcher.ids import new_id
from dispatcher.signing.keys import KeyKind, check_signing_key, generate_signing_key
from dispatcher.signing.schemes import BodySignature
from dispatcher.signing.signer import Signer
from dispatcher.testing import (
    BULKSMS,
    EVERLYTIC,
    FLEXENGAGE,
    NATIVE,
    SINCH,
    ZIPWHIP,
    Shape,
    SignedRequest,
    signed_request,
)
from dispatcher.testing.receiver import checking
from dispatcher.webhooks.contract import DeliveryContract, Envelope, Method, read_contract
from dispatcher.webhooks.secrets import WebhookSecrets
from schedules.timing import REAL_TIME
from tests.claims import CLAIM, TARGET
from workers.callbacks.render import render

KEY, ED = generate_signing_key().secret, generate_signing_key(KeyKind.ED25519).secret
AT = datetime(2026, 3, 2, 9, 15, 0, 123_000, tzinfo=UTC)
MESSAGE = '{"id": 7, "text": "é \\/"}'.encode()


def as_the_engine_sends(
    made: SignedRequest, contract: DeliveryContract, secrets: WebhookSecrets, *, messages: int = 1
) -> SignedRequest:
    """What the engine sends for the event of this request."""
    headers = made.headers
    claim = CLAIM._replace(
        event_id=headers.get("Dispatcher-Event-Id", CLAIM.event_id),
        event_type="message.inbound.received",
        delivery_id=headers.get("Dispatcher-Delivery-Id", ""),
        number=int(headers.get("Dispatcher-Attempt", "1")),
        occurred_at=AT,
        data=MESSAGE,
    )
    target = replace(TARGET, contract=contract, signer=Signer(secrets, contract))
    sent = render([claim] * messages, target, headers["Dispatcher-Request-Id"], now=AT.timestamp(), timing=REAL_TIME)
    return SignedRequest(dict(sent.headers), sent.body or b"")


NONCE = {"nonce_secret": "open-sesame"}
BODY = {"body_secret": "open-sesame"}
SIGNATURE = BodySignature(header="X-Hub-Signature-256", prefix="sha256=")


VENDORS: dict[str, tuple[Shape, Any]] = {
    "bulksms": (
        BULKSMS,
        bulksms.new_fields(
            bulksms.read_entry(b'{"name": "n", "url": "https://a.example/", "triggerScope": "RECEIVED"}')
        ),
    ),
    "zipwhip": (ZIPWHIP, zipwhip.new_fields(*next(iter(zipwhip.EVENT_TYPES)), "https://a.example/", Method.POST)),
    "everlytic": (EVERLYTIC, {"contract": everlytic._CONTRACT}),
    "flexengage": (FLEXENGAGE, {"contract": flexengage.CONTRACT}),
    "sinch": (SINCH, sinch.new_fields({"secret": "s", "target_type": "HTTP", "triggers": [], "app_id": "a"})),
}
CASES: dict[str, tuple[Shape, DeliveryContract, dict[str, str]]] = {
    "native": (NATIVE, DeliveryContract(), {}),
    "object": (Shape(array=False), DeliveryContract(envelope=Envelope.OBJECT), {}),
    **{name: (shape, read_contract(fields["contract"]), NONCE) for name, (shape, fields) in VENDORS.items()},
    "body": (Shape(body_signature=SIGNATURE), DeliveryContract(body_signature=SIGNATURE), BODY),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("keys", [[KEY], [ED, KEY], []], ids=["hmac", "both", "none"])
def test_a_request_is_what_the_engine_sends(case: str, keys: list[str]) -> None:
    shape, contract, secrets = CASES[case]
    made = signed_request(
        MESSAGE,
        key=keys,
        shape=shape,
        at=AT,
        attempt=3,
        webhook_id=UUID(TARGET.id),
        **secrets,  # type: ignore[arg-type]
    )
    signing = WebhookSecrets(signing_keys=tuple(map(check_signing_key, keys)), **secrets)  # type: ignore[arg-type]
    engines = as_the_engine_sends(made, contract, signing)
    assert made == engines
    assert list(made.headers) == list(engines.headers)


def test_a_batch_is_what_the_engine_sends() -> None:
    made = signed_request(MESSAGE, MESSAGE, key=KEY, at=AT)
    secrets = WebhookSecrets(signing_keys=(check_signing_key(KEY),))
    assert made == as_the_engine_sends(made, DeliveryContract(batch_size=2), secrets, messages=2)
    assert made.headers["Dispatcher-Batch-Size"] == "2"


@pytest.mark.parametrize("key", [KEY, ED], ids=["hmac", "ed25519"])
def test_receivers_take_it_and_refuse_what_is_old_or_made_with_another_key(key: str) -> None:
    check, now = checking(key), datetime.now(UTC)
    event_id = new_id()

    def verdict(made: SignedRequest) -> str:
        return check({name.lower(): value for name, value in made.headers.items()}, made.body)

    made = signed_request({"id": 7}, key=key, event_id=event_id)
    assert (made.body, made.headers["webhook-id"]) == (b'[{"id":7}]', str(event_id))
    assert verdict(made) == "good"
    assert verdict(signed_request({"id": 7}, key=[generate_signing_key().secret, key])) == "good"
    assert verdict(signed_request({"id": 7}, key=key, at=now - timedelta(minutes=6))).startswith("bad: made more than")
    assert verdict(signed_request({"id": 7}, key=generate_signing_key().secret)).startswith("bad: made with another")
    assert verdict(signed_request({"id": 7})) == "not signed"


def test_what_cannot_be_made_is_refused() -> None:
    for messages in ([], [1, 2]):
        with pytest.raises(ValueError, match="one message"):
            signed_request(*messages, shape=EVERLYTIC)
    with pytest.raises(InvalidEvent):
        signed_request(float("nan"))
    with pytest.raises(InvalidWebhook):
        signed_request(1, key="nonsense")
    with pytest.raises(ValueError, match="no member holds 'typo'"):
        signed_request(1, shape=Shape(members=(("a", "typo"),)))
