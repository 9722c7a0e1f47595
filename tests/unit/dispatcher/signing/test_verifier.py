"""Checking signatures as a receiver does: what was signed here is good, all else is not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidWebhook
from dispatcher.signing.keys import KeyKind, SigningKey, generate_signing_key
from dispatcher.signing.signer import Signer
from dispatcher.signing.verifier import Checked, SignatureKey
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets

NOW = 1_700_000_000


def signed(*keys: SigningKey, body: bytes = b"[]") -> dict[str, str]:
    return dict(Signer(WebhookSecrets(signing_keys=keys), DeliveryContract()).headers("id", "nonce", body, NOW))


@pytest.mark.parametrize("kind", KeyKind)
@given(body=st.binary(max_size=100), late=st.integers(-400, 400))
def test_what_was_signed_is_good_for_five_minutes(kind: KeyKind, body: bytes, late: int) -> None:
    key = generate_signing_key(kind)
    expected = Checked.GOOD if abs(late) <= 300 else Checked.OLD
    for text in filter(None, (key.secret, key.public_key)):
        assert SignatureKey(text).check(signed(key, body=body), body, now=NOW + late) is expected


@pytest.mark.parametrize("kind", KeyKind)
def test_what_was_changed_or_signed_by_others_is_bad(kind: KeyKind) -> None:
    key, other = generate_signing_key(kind), generate_signing_key(kind)
    headers = signed(key)
    assert SignatureKey(other.secret).check(headers, b"[]", now=NOW) is Checked.BAD
    check = SignatureKey(key.secret).check
    assert check(headers, b"[] ", now=NOW) is Checked.BAD
    for name, value in (("webhook-id", "x"), ("webhook-timestamp", str(NOW + 1)), ("webhook-timestamp", "x")):
        assert check({**headers, name: value}, b"[]", now=NOW) is Checked.BAD
    assert check({}, b"[]", now=NOW) is Checked.UNSIGNED


def test_one_good_signature_of_several_is_enough() -> None:
    keys = [generate_signing_key(), generate_signing_key(KeyKind.ED25519), generate_signing_key()]
    for key in keys:
        assert SignatureKey(key.secret).check(signed(*keys), b"[]", now=NOW) is Checked.GOOD


@given(st.text())
def test_no_header_raises(text: str) -> None:
    for key in (generate_signing_key(), generate_signing_key(KeyKind.ED25519)):
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            found = SignatureKey(key.secret).check({**signed(key), name: text}, b"[]", now=NOW)
            assert found in {Checked.BAD, Checked.UNSIGNED}


@pytest.mark.parametrize("text", ["", "planted", "whpk_planted", "whpk_" + base64.b64encode(bytes(31)).decode()])
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        SignatureKey(text)
    assert "planted" not in str(refused.value)
