"""Checks the signatures of a callback as a receiver does, by Standard Webhooks. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatcher.errors import InvalidWebhook
from dispatcher.signing.keys import PUBLIC, KeyKind, check_signing_key

TOLERANCE = 5 * 60  # seconds, both ways


class Checked(StrEnum):
    """What a check found."""

    GOOD = "good"
    UNSIGNED = "not signed"
    BAD = "bad: made with another key, or the body was changed"
    OLD = "bad: made more than five minutes ago, or ahead of this clock"


class SignatureKey:
    """What a receiver checks with: `whsec_`, or of an ed25519 key the public part `whpk_` (or the whole, `whsk_`)."""

    def __init__(self, text: str) -> None:
        """Raises InvalidWebhook for anything that is not a key, without repeating it."""
        self._secret: bytes | None = None
        self._public: Ed25519PublicKey | None = None
        if text.startswith(PUBLIC):
            self._public = _read_public(text.removeprefix(PUBLIC))
            return
        key = check_signing_key(text)
        if key.kind is KeyKind.ED25519:
            self._public = Ed25519PrivateKey.from_private_bytes(key.key).public_key()
        else:
            self._secret = key.key

    def check(self, headers: Mapping[str, str], body: bytes, *, now: float) -> Checked:
        """`headers` by their names in lower case, `body` as it was received, `now` in Unix seconds."""
        timestamp, signatures = headers.get("webhook-timestamp", ""), headers.get("webhook-signature", "")
        if not signatures:
            return Checked.UNSIGNED
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 15):
            return Checked.BAD
        signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
        if not any(self._fits(signature, signed) for signature in signatures.split(" ")):
            return Checked.BAD
        return Checked.GOOD if abs(now - int(timestamp)) <= TOLERANCE else Checked.OLD

    def _fits(self, signature: str, signed: bytes) -> bool:
        version, _, encoded = signature.partition(",")
        try:
            made = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return False
        if version == "v1" and self._secret is not None:
            return hmac.compare_digest(hmac.digest(self._secret, signed, hashlib.sha256), made)
        if version == "v1a" and self._public is not None:
            try:
                self._public.verify(made, signed)
            except InvalidSignature:
                return False
            return True
        return False


def _read_public(encoded: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidWebhook("key", f"must have 32 bytes in base64 after {PUBLIC}") from None
