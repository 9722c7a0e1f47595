"""The keys that sign callbacks by Standard Webhooks: `whsec_` (HMAC) and `whsk_` (ed25519), made, checked, rotated.

`dispatcher/verify/keys.py` has their forms, which receivers know, too.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

from dispatcher.errors import InvalidKey, InvalidWebhook
from dispatcher.verify.keys import PUBLIC, SECRET, SEED, decode_key

MAX_KEYS = 10  # keys that sign at once: some receiver would refuse a longer header
MAX_OVERLAP = timedelta(days=30)


class KeyKind(StrEnum):
    """What a key signs with."""

    HMAC = "hmac"  # v1: the receiver has the same secret
    ED25519 = "ed25519"  # v1a: the receiver has the public key only


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, and until when it signs beside a newer one (None: it is the newest)."""

    secret: str = field(repr=False)
    until: datetime | None = None

    @property
    def kind(self) -> KeyKind:
        return KeyKind.ED25519 if self.secret.startswith(_PREFIXES[KeyKind.ED25519]) else KeyKind.HMAC

    @property
    def key(self) -> bytes:
        """The bytes to sign with: an HMAC key, or an ed25519 seed of 32 bytes."""
        decoded = base64.b64decode(self.secret.partition("_")[2])
        return decoded[:32] if self.kind is KeyKind.ED25519 else decoded

    @property
    def public_key(self) -> str | None:
        """What a receiver checks with (`whpk_`); None where that is the secret itself."""
        if self.kind is KeyKind.HMAC:
            return None
        return PUBLIC + base64.b64encode(_public_half(self.key)).decode()

    @property
    def masked(self) -> str:
        return f"{_PREFIXES[self.kind]}***"


_PREFIXES = {KeyKind.HMAC: SECRET, KeyKind.ED25519: SEED}


def generate_signing_key(kind: KeyKind = KeyKind.HMAC) -> SigningKey:
    """A new key of 256 random bits."""
    seed = secrets.token_bytes(32)
    match kind:
        case KeyKind.HMAC:
            return _spelled(kind, seed)
        case KeyKind.ED25519:
            return _spelled(kind, seed + _public_half(seed))
        case _:
            assert_never(kind)


def check_signing_key(text: str) -> SigningKey:
    """An existing key in its canonical form. Raises InvalidWebhook, whose text does not repeat the key."""
    kind, decoded = _decoded(text)
    if kind is KeyKind.ED25519 and _public_half(decoded[:32]) != decoded[32:]:
        raise InvalidWebhook("signing_keys", f"must have a seed and its public key (64 bytes) in base64 after {SEED}")
    return _spelled(kind, decoded)


def rotate(keys: Sequence[SigningKey], new: SigningKey, *, overlap: timedelta, now: datetime) -> list[SigningKey]:
    """The keys with a new one in front. The others sign until the overlap is over, but never longer than before. Raises
    InvalidWebhook for an overlap out of range, and if too many keys would sign at once."""
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidWebhook("overlap", f"must be between 0 and {MAX_OVERLAP.days} days")
    end = now + overlap
    older = [replace(key, until=min(key.until or end, end)) for key in keys if key.secret != new.secret]
    kept = [key for key in older if key.until is not None and key.until > now]
    if len(kept) >= MAX_KEYS:
        raise InvalidWebhook(
            "signing_keys", f"would be more than {MAX_KEYS} at once: let some end, or rotate without overlap"
        )
    return [replace(new, until=None), *kept]


class _StoredKey(BaseModel):
    secret: str = Field(repr=False)
    until: AwareDatetime | None = None


_STORED_KEYS = TypeAdapter(tuple[_StoredKey, ...])


def read_signing_keys(document: object) -> tuple[SigningKey, ...]:
    """The keys in a webhook's opened secrets, the newest first; members that this version does not know are passed
    over. Raises ValidationError, or InvalidWebhook for a key of an unknown kind or form. That a seed has its public
    key was checked before it was stored: it takes longer than all else, and workers read keys while deliveries wait."""
    return tuple(
        replace(_spelled(*_decoded(key.secret)), until=key.until) for key in _STORED_KEYS.validate_python(document)
    )


def write_signing_keys(keys: Sequence[SigningKey]) -> list[dict[str, Any]]:
    """The same as a document."""
    return [{"secret": key.secret, "until": key.until.isoformat() if key.until else None} for key in keys]


def _decoded(text: str) -> tuple[KeyKind, bytes]:
    if not text.startswith((SECRET, SEED)):
        raise InvalidWebhook("signing_keys", f"must begin with {SECRET} (HMAC) or {SEED} (ed25519)")
    try:
        prefix, decoded = decode_key(text)
    except InvalidKey as error:
        raise InvalidWebhook("signing_keys", error.reason) from None
    return KeyKind.HMAC if prefix == SECRET else KeyKind.ED25519, decoded


def _spelled(kind: KeyKind, decoded: bytes) -> SigningKey:
    return SigningKey(_PREFIXES[kind] + base64.b64encode(decoded).decode())


def _public_half(seed: bytes) -> bytes:
    # Whoever has HMAC keys alone needs no cryptography: tests of producers.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
