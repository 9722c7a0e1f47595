"""The signatures of a callback, over the exact bytes of its body. Pure: the caller gives the attempt's time.

With the method GET there is no body, and the signatures are over an empty one.
"""

import base64
import hmac
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from dispatcher.signing.keys import KeyKind, SigningKey
from dispatcher.signing.schemes import BodySignature, Encoding, NonceSignature

Headers = Iterator[tuple[str, str]]
_Sign = Callable[[bytes], bytes]


class Secrets(Protocol):
    """What signing needs from a webhook's secrets."""

    @property
    def signing_keys(self) -> Sequence[SigningKey]: ...
    @property
    def body_secret(self) -> str | None: ...
    @property
    def nonce_secret(self) -> str | None: ...


class Schemes(Protocol):
    """What signing needs from a contract."""

    @property
    def body_signature(self) -> BodySignature | None: ...
    @property
    def nonce_signature(self) -> NonceSignature | None: ...


class Signer:
    """Signs for one webhook, as its secrets and its contract say."""

    def __init__(self, secrets: Secrets, contract: Schemes) -> None:
        self._keys = [_signing(key) for key in secrets.signing_keys]
        self._body = self._nonce = None
        if contract.body_signature is not None and secrets.body_secret is not None:
            digest = contract.body_signature.digest.value
            self._body = contract.body_signature, _hmac(secrets.body_secret.encode(), digest)
        if contract.nonce_signature is not None and secrets.nonce_secret is not None:
            self._nonce = contract.nonce_signature, _hmac(secrets.nonce_secret.encode())

    def headers(self, message_id: str, nonce: str, body: bytes, now: float) -> Headers:
        """The headers that carry the signatures, made at `now` (Unix seconds). `message_id` is the same in every
        attempt, `nonce` is never used again."""
        timestamp = str(int(now))
        if self._keys:
            signed = f"{message_id}.{timestamp}.".encode() + body
            values = [f"{version},{_base64(sign(signed))}" for version, sign, until in self._keys if now < until]
            yield "webhook-id", message_id
            yield "webhook-timestamp", timestamp
            yield "webhook-signature", " ".join(values)
        if self._body is not None:
            yield from _body_signature(*self._body, body)
        if self._nonce is not None:
            yield from _nonce_signature(*self._nonce, body, nonce, timestamp)


def _body_signature(signature: BodySignature, sign: _Sign, body: bytes) -> Headers:
    made = sign(body)
    text = made.hex() if signature.encoding is Encoding.HEX else _base64(made)
    yield signature.header, signature.prefix + text


def _nonce_signature(signature: NonceSignature, sign: _Sign, body: bytes, nonce: str, timestamp: str) -> Headers:
    yield f"{signature.header}-timestamp", timestamp
    yield f"{signature.header}-nonce", nonce
    yield f"{signature.header}-algorithm", "HmacSHA256"
    yield signature.header, _base64(sign(body + f".{nonce}.{timestamp}".encode()))


def _signing(key: SigningKey) -> tuple[str, _Sign, float]:
    """The version, the signing function, and until when it signs (Unix seconds)."""
    until = key.until.timestamp() if key.until else float("inf")
    if key.kind is KeyKind.ED25519:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as in `keys`

        return "v1a", Ed25519PrivateKey.from_private_bytes(key.key).sign, until
    return "v1", _hmac(key.key), until


def _hmac(key: bytes, digest: str = "sha256") -> _Sign:
    begun = hmac.new(key, digestmod=digest)  # copying it costs less than making a new one

    def sign(data: bytes) -> bytes:
        signature = begun.copy()
        signature.update(data)
        return signature.digest()

    return sign


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
