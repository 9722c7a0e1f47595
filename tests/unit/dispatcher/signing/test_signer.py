"""Signatures: published vectors, and the real libraries that receivers check with."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from dispatcher.signing.keys import KeyKind, SigningKey, generate_signing_key
from dispatcher.signing.schemes import BodySignature, Digest, Encoding, NonceSignature
from dispatcher.signing.signer import Signer
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets
from tests.sinch_events import sinch_events

# The public specification's library tests, and for ed25519 those of its reference server.
MESSAGE, MOMENT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
HMAC_KEY = SigningKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ED25519_KEY = SigningKey(
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
HMAC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
ED25519_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
NOBODY = Signer(WebhookSecrets(), DeliveryContract())


def headers(
    secrets: WebhookSecrets,
    contract: DeliveryContract | None = None,
    *,
    message: str = MESSAGE,
    nonce: str = "nonce",
    body: bytes = BODY,
    now: float = MOMENT,
) -> dict[str, str]:
    made = list(Signer(secrets, contract or DeliveryContract()).headers(message, nonce, body, now))
    assert len({name for name, _ in made}) == len(made)
    return dict(made)


def keys(*signing_keys: SigningKey) -> WebhookSecrets:
    return WebhookSecrets(signing_keys=signing_keys)


@pytest.mark.parametrize(
    ("key", "message", "moment", "body", "signature"),
    [
        (HMAC_KEY, MESSAGE, MOMENT, BODY, HMAC_SIGNATURE),
        (ED25519_KEY, MESSAGE, MOMENT, BODY, ED25519_SIGNATURE),
        (
            SigningKey("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            "msg_vector1",
            1700000000,
            '{"type":"sms.delivered","data":{"text":"café"}}'.encode(),
            "v1,j7kqXg1Szl0UXKHQgShhnrsuPrVTUu5sBwGKaj6hzrY=",
        ),
    ],
)
def test_the_vectors_of_standard_webhooks_come_out(
    key: SigningKey, message: str, moment: int, body: bytes, signature: str
) -> None:
    assert headers(keys(key), message=message, body=body, now=moment + 0.999) == {
        "webhook-id": message,
        "webhook-timestamp": str(moment),
        "webhook-signature": signature,
    }


def test_while_keys_change_there_is_a_signature_of_each() -> None:
    old = SigningKey(HMAC_KEY.secret, datetime.fromtimestamp(MOMENT + 10, UTC))
    signed = headers(keys(ED25519_KEY, old))
    assert signed["webhook-signature"] == f"{ED25519_SIGNATURE} {HMAC_SIGNATURE}"
    assert headers(keys(ED25519_KEY, old), now=MOMENT + 9.9)["webhook-signature"].count(" ") == 1
    assert headers(keys(ED25519_KEY, old), now=MOMENT + 10)["webhook-signature"].count(" ") == 0


def test_without_keys_nothing_is_added() -> None:
    assert list(NOBODY.headers(MESSAGE, "nonce", BODY, MOMENT)) == []


@given(body=st.binary(max_size=200).map(lambda raw: json.dumps(raw.decode("latin-1")).encode()), fresh=st.booleans())
def test_the_real_library_believes_what_is_signed_and_nothing_else(body: bytes, fresh: bool) -> None:
    first, second, now = generate_signing_key(), generate_signing_key(), time.time()
    old = SigningKey(first.secret, datetime.now(UTC) + timedelta(hours=1))
    signed = headers(keys(second, old), body=body, now=now if fresh else now - 301)
    for key in (first, second):
        if fresh:
            assert Webhook(key.secret).verify(body, signed) == json.loads(body)
            with pytest.raises(WebhookVerificationError):
                Webhook(key.secret).verify(body + b" ", signed)
            with pytest.raises(WebhookVerificationError):
                Webhook(key.secret).verify(body, signed | {"webhook-id": "another"})
        else:
            with pytest.raises(WebhookVerificationError):
                Webhook(key.secret).verify(body, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(generate_signing_key().secret).verify(body, signed)


@given(body=st.binary(max_size=200))
def test_an_ed25519_signature_is_checked_with_the_public_key_alone(body: bytes) -> None:
    key = generate_signing_key(KeyKind.ED25519)
    assert key.public_key is not None
    signed = headers(keys(key), body=body)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_key.removeprefix("whpk_")))
    version, _, signature = signed["webhook-signature"].partition(",")
    assert version == "v1a"
    public.verify(base64.b64decode(signature), f"{MESSAGE}.{MOMENT}.".encode() + body)


@pytest.mark.parametrize("digest", Digest)
@pytest.mark.parametrize("encoding", Encoding)
def test_a_body_signature_is_over_the_body_alone(digest: Digest, encoding: Encoding) -> None:
    signature = BodySignature(header="X-Hub-Signature", digest=digest, encoding=encoding, prefix=f"{digest}=")
    signed = headers(WebhookSecrets(body_secret="schlüssel"), DeliveryContract(body_signature=signature))
    made = hmac.new("schlüssel".encode(), BODY, getattr(hashlib, digest))
    text = made.hexdigest() if encoding is Encoding.HEX else base64.b64encode(made.digest()).decode()
    assert signed == {"X-Hub-Signature": f"{digest}={text}"}


def test_githubs_own_example_of_a_body_signature_comes_out() -> None:
    signature = BodySignature(header="X-Hub-Signature-256", prefix="sha256=")
    secrets = WebhookSecrets(body_secret="It's a Secret to Everybody")
    assert headers(secrets, DeliveryContract(body_signature=signature), body=b"Hello, World!") == {
        "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }


NONCE = DeliveryContract(nonce_signature=NonceSignature(header="x-sinch-webhook-signature"))
NONCE_BODY = (
    '{"app_id":"app-1","project_id":"proj-1","message_delivery_report":{"message_id":"m-1","status":"DELIVERED",'
    '"metadata":"café"}}'
).encode()


def sinch_believes(secret: str, signed: dict[str, str], body: bytes) -> bool:
    return bool(sinch_events(secret).validate_authentication_header(signed, body))


def test_the_nonce_signature_is_the_one_that_sinchs_own_library_checks() -> None:
    signed = headers(
        WebhookSecrets(nonce_secret="vector-secret"),
        NONCE,
        nonce="01HVECTORNONCE0000000000000",
        body=NONCE_BODY,
        now=1700000000,
    )
    assert signed == {
        "x-sinch-webhook-signature-timestamp": "1700000000",
        "x-sinch-webhook-signature-nonce": "01HVECTORNONCE0000000000000",
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
        "x-sinch-webhook-signature": "ZKec9rQqePBQHfAvBrwRtoWsOqGwJ+2sRjpxklO4Hkk=",
    }
    assert sinch_believes("vector-secret", signed, NONCE_BODY)
    assert not sinch_believes("vector-secret", signed, NONCE_BODY + b" ")
    assert not sinch_believes("vector-secret", signed | {"x-sinch-webhook-signature-nonce": "b"}, NONCE_BODY)
    assert not sinch_believes("another", signed, NONCE_BODY)


def test_all_signatures_stand_beside_each_other() -> None:
    contract = NONCE.model_copy(update={"body_signature": BodySignature(header="X-Signature")})
    secrets = WebhookSecrets(signing_keys=(HMAC_KEY,), body_secret="b", nonce_secret="n")
    assert len(headers(secrets, contract)) == 8
    assert headers(secrets, contract)["webhook-signature"] == HMAC_SIGNATURE
