"""Secrets at rest: Fernet with rotating keys, and a keyed digest to find an encrypted URL again."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection, text

from dispatcher.errors import ConfigurationError, Unreadable, WrongEncryptionKey

_HOW_TO_MAKE_ONE = "make one with `dispatcher secrets generate-key` and keep it: what it encrypts is lost without it"
_NOT_OPENED = "a stored secret cannot be opened with DISPATCHER_ENCRYPTION_KEYS: add the key that it was encrypted with"


_DIGEST_KEY = text("SELECT digest_key FROM dispatcher.installation")
# If two make one at once, both use that of the first to commit.
_MAKE_DIGEST_KEY = text(
    "UPDATE dispatcher.installation SET digest_key = coalesce(digest_key, :key) RETURNING digest_key"
)


class EncryptionKeys:
    """Encrypts and decrypts what must not be in the database in plain text.

    `keys` are Fernet keys separated by commas, the newest first: it encrypts, all of them decrypt.
    """

    def __init__(self, keys: str) -> None:
        parts = [part.strip() for part in keys.split(",") if part.strip()]
        if not parts:
            raise ConfigurationError(f"DISPATCHER_ENCRYPTION_KEYS is not set: {_HOW_TO_MAKE_ONE}")
        try:
            fernets = [Fernet(part) for part in parts]
        except ValueError:
            raise ConfigurationError(
                f"DISPATCHER_ENCRYPTION_KEYS contains something that is not a Fernet key: {_HOW_TO_MAKE_ONE}"
            ) from None
        self._newest, self._fernet = fernets[0], MultiFernet(fernets)

    def encrypt(self, clear: str) -> bytes:
        return self._fernet.encrypt(clear.encode())

    def decrypt(self, ciphertext: bytes) -> str:
        """Raises WrongEncryptionKey if no key decrypts it, Unreadable if it is not text."""
        try:
            return self._fernet.decrypt(bytes(ciphertext)).decode()
        except InvalidToken:
            raise WrongEncryptionKey(_NOT_OPENED) from None
        except UnicodeDecodeError:
            raise Unreadable("a stored secret is not text") from None

    def renewed(self, ciphertext: bytes) -> bytes | None:
        """The same secret encrypted with the newest key; None if it is already. Raises WrongEncryptionKey if no key
        decrypts it."""
        try:
            self._newest.decrypt(ciphertext)  # a token does not name its key; trying a wrong one is cheap
        except InvalidToken:
            pass
        else:
            return None
        try:
            return self._fernet.rotate(ciphertext)
        except InvalidToken:
            raise WrongEncryptionKey(_NOT_OPENED) from None

    def encrypt_document(self, document: Mapping[str, Any]) -> bytes | None:
        """None for an empty document."""
        return self.encrypt(json.dumps(document, separators=(",", ":"))) if document else None

    def decrypt_document(self, ciphertext: bytes | None) -> dict[str, Any]:
        """Raises WrongEncryptionKey if no key decrypts it, Unreadable if it is not a JSON object."""
        if ciphertext is None:
            return {}
        text = self.decrypt(ciphertext)
        try:
            document = json.loads(text)
            if r"\ud" in text.lower():  # half of a character cannot be sent or shown
                json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Unreadable("its stored secrets are not a JSON object")
        return document


class Vault(EncryptionKeys):
    """The keys of one database. `digest_secret` is the database's own secret, for keyed digests."""

    def __init__(self, keys: str, digest_secret: bytes) -> None:
        super().__init__(keys)
        self.digest_secret = digest_secret

    @classmethod
    def checked(cls, keys: str, connection: Connection) -> Self:
        """The vault of this database. The first call makes its digest secret, which is stored encrypted.

        Decrypting it also shows whether the database is encrypted with these keys. Raises WrongEncryptionKey if not, so
        that a wrong key is noticed at start and not at the first delivery; ConfigurationError for keys that are missing
        or invalid.
        """
        opened = EncryptionKeys(keys)
        stored = connection.scalar(_DIGEST_KEY)
        if stored is None:
            stored = connection.scalar(_MAKE_DIGEST_KEY, {"key": opened.encrypt(secrets.token_urlsafe(32))})
        return cls(keys, opened.decrypt(stored).encode())


def url_digest(digest_secret: bytes, url: str) -> bytes:
    """Finds equal URLs without decrypting them; keyed, so that a dump alone cannot be searched for a guessed URL."""
    return hmac.new(digest_secret, url.encode(), hashlib.sha256).digest()


def destination(digest_secret: bytes, url: str) -> int:
    """The host and port that a URL, in the form that is called, is for, as a keyed digest: 8 bytes as a signed number.
    What is for the same host and port has the same one, whatever its scheme."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    digest = hmac.new(digest_secret, f"{parts.hostname}:{port}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], signed=True)


def generate_key() -> str:
    """A new Fernet key."""
    return Fernet.generate_key().decode()
