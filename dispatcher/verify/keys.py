"""The forms of the keys of Standard Webhooks, and what each checks a signature with.

A key is its prefix and then base64: `whsec_` of a secret (HMAC), `whsk_` of an ed25519 seed and its public key,
`whpk_` of that public key alone.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable

from dispatcher.errors import InvalidKey

SECRET, SEED, PUBLIC = "whsec_", "whsk_", "whpk_"

Fits = Callable[[bytes, bytes], bool]
"""Whether what was signed (the first) has this signature (the second)."""


def decode_key(text: str) -> tuple[str, bytes]:
    """Its prefix and its bytes: of `whsec_` 24 to 64, of `whsk_` 64, of `whpk_` 32. Padding may be left out. Raises
    InvalidKey for anything else, without repeating it."""
    prefix = next((prefix for prefix in (SECRET, SEED, PUBLIC) if text.startswith(prefix)), None)
    if prefix is None:
        raise InvalidKey(f"must begin with {SECRET} (HMAC), {SEED} or {PUBLIC} (ed25519)")
    encoded = text.removeprefix(prefix).rstrip("=")
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise InvalidKey(f"must have base64 after {prefix}") from None
    if prefix == SECRET and not 24 <= len(decoded) <= 64:
        raise InvalidKey(f"must have 24 to 64 bytes in base64 after {SECRET}")
    if prefix == SEED and len(decoded) != 64:
        raise InvalidKey(f"must have a seed and its public key (64 bytes) in base64 after {SEED}")
    if prefix == PUBLIC and len(decoded) != 32:
        raise InvalidKey(f"must have 32 bytes in base64 after {PUBLIC}")
    return prefix, decoded


def check_of(text: str) -> tuple[str, Fits]:
    """The version of the signatures that the key checks (`v1`, `v1a`), and how. Raises InvalidKey."""
    prefix, decoded = decode_key(text)
    if prefix == SECRET:
        return "v1", lambda signed, made: hmac.compare_digest(hmac.digest(decoded, signed, hashlib.sha256), made)
    return "v1a", _ed25519(decoded[-32:])


def _ed25519(public: bytes) -> Fits:
    try:  # not before such a key is used: most receivers need Python alone
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ModuleNotFoundError:
        raise InvalidKey("is an ed25519 key: to check with it, install the package cryptography") from None
    key = Ed25519PublicKey.from_public_bytes(public)

    def fits(signed: bytes, made: bytes) -> bool:
        try:
            key.verify(made, signed)
        except InvalidSignature:
            return False
        return True

    return fits
