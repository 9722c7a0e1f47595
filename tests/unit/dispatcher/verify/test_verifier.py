"""Checking signatures as a receiver does: what was signed by the engine is taken, all else is not."""

import base64
import hashlib
import hmac
import subprocess
import sys
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from dispatcher.errors import DispatcherError
from dispatcher.signing.keys import KeyKind, SigningKey, generate_signing_key
from dispatcher.signing.signer import Signer
from dispatcher.verify import (
    InvalidKey,
    NotSigned,
    UnreadableBody,
    VerificationError,
    Verifier,
    WrongSignature,
    WrongTime,
)
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets

ROOT = Path(__file__).parents[4]
NOW = 1_700_000_000


def signed(*keys: SigningKey, body: bytes = b"[]") -> dict[str, str]:
    return dict(Signer(WebhookSecrets(signing_keys=keys), DeliveryContract()).headers("id", "nonce", body, NOW))


@pytest.mark.parametrize("kind", KeyKind)
@pytest.mark.parametrize("late", [-301, -300, 0, 300, 301])
def test_what_was_signed_is_good_for_five_minutes(kind: KeyKind, late: int) -> None:
    key = generate_signing_key(kind)
    for text in filter(None, (key.secret, key.public_key)):
        if abs(late) <= 300:
            assert Verifier(text).verify(signed(key), b"[]", now=NOW + late).id == "id"
        else:
            with pytest.raises(WrongTime):
                Verifier(text).verify(signed(key), b"[]", now=NOW + late)


@pytest.mark.parametrize("kind", KeyKind)
def test_what_was_changed_or_signed_by_others_is_not_believed(kind: KeyKind) -> None:
    key, other = generate_signing_key(kind), generate_signing_key(kind)
    headers = signed(key)
    with pytest.raises(WrongSignature):
        Verifier(other.secret).verify(headers, b"[]", now=NOW)
    verifier = Verifier(key.secret)
    with pytest.raises(WrongSignature):
        verifier.verify(headers, b"[] ", now=NOW)
    for name, value in (("webhook-id", "x"), ("webhook-timestamp", str(NOW + 1)), ("webhook-timestamp", "9" * 5000)):
        with pytest.raises(WrongSignature):
            verifier.verify({**headers, name: value}, b"[]", now=NOW)
    version, _, signature = headers["webhook-signature"].partition(",")
    with pytest.raises(WrongSignature):
        verifier.verify({**headers, "webhook-signature": f"{version}b,{signature}"}, b"[]", now=NOW)
    for name in headers:
        with pytest.raises(NotSigned):
            verifier.verify({**headers, name: ""}, b"[]", now=NOW)


def test_a_time_that_is_none_is_refused_even_if_it_was_signed() -> None:
    key = generate_signing_key()
    for timestamp in ("9" * 5000, "-1700000000", "1e9", "١٧٠٠٠٠٠٠٠٠"):
        made = hmac.digest(key.key, f"id.{timestamp}.[]".encode(), hashlib.sha256)
        signature = "v1," + base64.b64encode(made).decode()
        headers = {"webhook-id": "id", "webhook-timestamp": timestamp, "webhook-signature": signature}
        with pytest.raises(WrongTime):
            Verifier(key.secret).verify(headers, b"[]", now=NOW)


def test_one_good_signature_of_several_is_enough_and_one_key_of_several() -> None:
    keys = [generate_signing_key(), generate_signing_key(KeyKind.ED25519), generate_signing_key()]
    for key in keys:
        Verifier(key.secret).verify(signed(*keys), b"[]", now=NOW)
        Verifier(*(key.secret for key in keys)).verify(signed(key), b"[]", now=NOW)


def test_of_thousands_of_signatures_only_the_first_are_checked() -> None:
    key = generate_signing_key()
    headers = signed(key)
    for count, believed in ((19, True), (20, False)):
        many = {**headers, "webhook-signature": "v1,AAAA " * count + headers["webhook-signature"]}
        if believed:
            Verifier(key.secret).verify(many, b"[]", now=NOW)
        else:
            with pytest.raises(WrongSignature):
                Verifier(key.secret).verify(many, b"[]", now=NOW)


@given(st.text(min_size=1))
@example("\ud800")  # as some servers write bytes that are no text
def test_no_header_raises_anything_else(text: str) -> None:
    key = generate_signing_key()
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        with pytest.raises(VerificationError):
            Verifier(key.secret, generate_signing_key(KeyKind.ED25519).secret).verify(
                {**signed(key), name: text}, b"[]", now=NOW
            )


def test_headers_may_have_any_case_and_come_as_frameworks_have_them() -> None:
    key = generate_signing_key()
    upper = {name.upper(): value for name, value in signed(key).items()}
    message = Message()
    for name, value in upper.items():
        message[name] = value
    for headers in (upper, message, Headers(upper)):
        assert Verifier(key.secret).verify(headers, b"[]", now=NOW).headers["webhook-id"] == "id"


def test_an_id_or_a_time_that_comes_twice_is_not_believed() -> None:
    key = generate_signing_key()
    for name in ("webhook-id", "webhook-timestamp"):
        headers = Headers(signed(key))
        headers.add(name, headers[name])
        with pytest.raises(WrongSignature):
            Verifier(key.secret).verify(headers, b"[]", now=NOW)


def test_a_callback_says_what_is_in_it_and_shows_nothing_of_it() -> None:
    key = generate_signing_key()
    body = b'[{"planted":1}]'
    headers = signed(key, body=body) | {"Dispatcher-Event-Type": "a.b", "Authorization": "planted"}
    callback = Verifier(key.secret).verify(headers, body, now=NOW)
    assert (callback.messages, callback.body, callback.event_type) == ([{"planted": 1}], body, "a.b")
    assert callback.signed_at == datetime.fromtimestamp(NOW, UTC)
    assert "planted" not in repr(callback)
    alone = Verifier(key.secret).verify(signed(key, body=b'{"id":1}'), b'{"id":1}', now=NOW)
    assert (alone.messages, alone.event_type) == ([{"id": 1}], None)


@pytest.mark.parametrize("body", [b"", b"no", b"\xff", b"[" * 100_000])
def test_what_is_signed_and_no_json_is_told_apart(body: bytes) -> None:
    key = generate_signing_key()
    with pytest.raises(UnreadableBody):
        Verifier(key.secret).verify(signed(key, body=body), body, now=NOW)


SHORT = base64.b64encode(bytes(31)).decode()


@pytest.mark.parametrize("text", ["", "planted", "whpk_planted", f"whpk_{SHORT}", f"whsk_{SHORT}", "whsec_planted"])
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidKey) as refused:
        Verifier(text)
    assert "planted" not in str(refused.value)


def test_without_a_key_there_is_no_verifier() -> None:
    with pytest.raises(InvalidKey):
        Verifier()


def test_all_refusals_are_of_one_family_and_of_the_product() -> None:
    family = {NotSigned, WrongSignature, WrongTime, UnreadableBody}
    assert set(VerificationError.__subclasses__()) == family
    assert issubclass(VerificationError, DispatcherError)


ALONE = """
import sys
from dispatcher.verify import Receiver, Verifier, InvalidKey
Receiver("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", hand_over=print)
print(sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__"}))
sys.modules["cryptography"] = None
try:
    Verifier("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
except InvalidKey as error:
    print(error)
"""


def test_it_needs_python_alone_and_says_what_ed25519_needs_besides() -> None:
    # -S: without the environment's packages; their .pth files would load some of them.
    ran = subprocess.run([sys.executable, "-S", "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "['dispatcher']",
        "key is an ed25519 key: to check with it, install the package cryptography",
    ]
