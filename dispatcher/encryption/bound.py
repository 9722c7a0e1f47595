"""The form of a secret that opens at its own place alone: AES-256-GCM, with the place's name as associated data."""

import os
from base64 import urlsafe_b64decode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = b"\x01"  # a Fernet token begins with a letter
_ID, _NONCE = 4, 12  # bytes
_HEAD = len(VERSION) + _ID + _NONCE


class BoundKey:
    """A key of its own, derived from one of DISPATCHER_ENCRYPTION_KEYS, and its id, which tells nothing of the key.

    Nonces are random: a key may encrypt 2^32 secrets, which is one a second for 136 years."""

    def __init__(self, key: str) -> None:
        self._cipher = AESGCM(_derived(key, b"dispatcher: bound secrets", 32))
        self.id = _derived(key, b"dispatcher: id of the key of bound secrets", _ID)

    def encrypt(self, clear: bytes, place: bytes) -> bytes:
        head = VERSION + self.id
        nonce = os.urandom(_NONCE)
        return head + nonce + self._cipher.encrypt(nonce, clear, head + place)

    def decrypt(self, ciphertext: bytes, place: bytes) -> bytes:
        """Raises InvalidTag for another key's, another place's, or one that was changed."""
        if len(ciphertext) < _HEAD:
            raise InvalidTag
        head, nonce = ciphertext[: _HEAD - _NONCE], ciphertext[_HEAD - _NONCE : _HEAD]
        return self._cipher.decrypt(nonce, ciphertext[_HEAD:], head + place)


def is_bound(ciphertext: bytes) -> bool:
    return ciphertext.startswith(VERSION)


def key_id(ciphertext: bytes) -> bytes:
    """Of the key that a bound secret is encrypted with."""
    return ciphertext[len(VERSION) : len(VERSION) + _ID]


def _derived(key: str, purpose: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=purpose).derive(urlsafe_b64decode(key))
