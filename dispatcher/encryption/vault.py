"""Secrets at rest: encrypted for one row with rotating keys, and a keyed digest to find an encrypted URL again."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection, text

from dispatcher.db.binding import BINDING, Binding
from dispatcher.encryption.bound import BoundKey, is_bound, key_id
from dispatcher.errors import ConfigurationError, Unreadable, WrongEncryptionKey

_HOW_TO_MAKE_ONE = "make one with `dispatcher secrets generate-key` and keep it: what it encrypts is lost without it"
_NOT_OPENED = "a stored secret cannot be opened with DISPATCHER_ENCRYPTION_KEYS: add the key that it was encrypted with"
_NOT_ITS_ROW = "a stored secret was made for another row, or changed: give the webhook its URL and secrets again"
_NOT_BOUND = "a stored secret is in a form that could come from another row: give the webhook its URL and secrets again"


_DIGEST_KEY = text(f"SELECT id, digest_key, {BINDING} AS binding FROM dispatcher.installation")  # noqa: S608 - constants
# If two make one at once, both use that of the first to commit.
_MAKE_DIGEST_KEY = text(
    "UPDATE dispatcher.installation SET digest_key = coalesce(digest_key, :key) RETURNING digest_key"
)


class Place(NamedTuple):
    """Where a secret is stored: `id` is the row's key."""

    table: str
    column: str
    id: UUID | str

    @classmethod
    def of_digest_key(cls, installation: UUID) -> Self:
        return cls("installation", "digest_key", installation)

    @property
    def name(self) -> bytes:
        """What a bound secret is bound to: it may not change."""
        return f"{self.table}/{self.column}/{self.id}".encode()


class EncryptionKeys:
    """Encrypts and decrypts what must not be in the database in plain text.

    `keys` are separated by commas, the newest first: it encrypts, all of them decrypt. A secret that is bound opens at
    its place alone. One that is not is a Fernet token, as older versions wrote it; it opens until `binding` is done.
    """

    def __init__(self, keys: str, binding: Binding = Binding.NOT_YET) -> None:
        parts = [part.strip() for part in keys.split(",") if part.strip()]
        if not parts:
            raise ConfigurationError(f"DISPATCHER_ENCRYPTION_KEYS is not set: {_HOW_TO_MAKE_ONE}")
        try:
            fernets = [Fernet(part) for part in parts]
        except ValueError:
            raise ConfigurationError(
                f"DISPATCHER_ENCRYPTION_KEYS contains something that is not a Fernet key: {_HOW_TO_MAKE_ONE}"
            ) from None
        self.binding = binding
        self._newest, self._fernet = fernets[0], MultiFernet(fernets)
        bound = [BoundKey(part) for part in parts]
        self._newest_bound, self._bound = bound[0], {key.id: key for key in bound}

    def learn(self, binding: Binding) -> None:
        """How far the database has come now."""
        self.binding = max(self.binding, binding)

    def encrypt(self, clear: str, place: Place) -> bytes:
        return self._encrypt(clear.encode(), place, bind=self.binding is not Binding.NOT_YET)

    def decrypt(self, ciphertext: bytes, place: Place) -> str:
        """Raises WrongEncryptionKey if no key decrypts it, Unreadable if it is not text, or not this place's."""
        try:
            return self._opened(bytes(ciphertext), place).decode()
        except UnicodeDecodeError:
            raise Unreadable("a stored secret is not text") from None

    def renewed(self, ciphertext: bytes, place: Place, *, bind: bool) -> bytes | None:
        """The same secret encrypted with the newest key, and bound if it was, or with `bind`; None if it is already.
        Raises WrongEncryptionKey if no key decrypts it, Unreadable if it is not this place's."""
        clear = self._opened(ciphertext, place)
        if is_bound(ciphertext):
            return None if key_id(ciphertext) == self._newest_bound.id else self._encrypt(clear, place, bind=True)
        if not bind:
            try:
                self._newest.decrypt(ciphertext)  # a token does not name its key; trying a wrong one is cheap
            except InvalidToken:
                pass
            else:
                return None
        return self._encrypt(clear, place, bind=bind)

    def encrypt_document(self, document: Mapping[str, Any], place: Place) -> bytes | None:
        """None for an empty document."""
        return self.encrypt(json.dumps(document, separators=(",", ":")), place) if document else None

    def decrypt_document(self, ciphertext: bytes | None, place: Place) -> dict[str, Any]:
        """Raises WrongEncryptionKey if no key decrypts it, Unreadable if it is not a JSON object, or not this
        place's."""
        if ciphertext is None:
            return {}
        text = self.decrypt(ciphertext, place)
        try:
            document = json.loads(text)
            if r"\ud" in text.lower():  # half of a character cannot be sent or shown
                json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Unreadable("its stored secrets are not a JSON object")
        return document

    def _encrypt(self, clear: bytes, place: Place, *, bind: bool) -> bytes:
        return self._newest_bound.encrypt(clear, place.name) if bind else self._newest.encrypt(clear)

    def _opened(self, ciphertext: bytes, place: Place) -> bytes:
        if not is_bound(ciphertext):
            if self.binding is Binding.DONE:
                raise Unreadable(_NOT_BOUND)
            try:
                return self._fernet.decrypt(ciphertext)
            except InvalidToken:
                raise WrongEncryptionKey(_NOT_OPENED) from None
        key = self._bound.get(key_id(ciphertext))
        if key is None:
            raise WrongEncryptionKey(_NOT_OPENED)
        try:
            return key.decrypt(ciphertext, place.name)
        except InvalidTag:
            raise Unreadable(_NOT_ITS_ROW) from None


class Vault(EncryptionKeys):
    """The keys of one database. `digest_secret` is the database's own secret, for keyed digests."""

    def __init__(self, keys: str, binding: Binding, digest_secret: bytes) -> None:
        super().__init__(keys, binding)
        self.digest_secret = digest_secret

    @classmethod
    def checked(cls, keys: str, connection: Connection) -> Self:
        """The vault of this database. The first call makes its digest secret, which is stored encrypted.

        Decrypting it also shows whether the database is encrypted with these keys. Raises WrongEncryptionKey if not, so
        that a wrong key is noticed at start and not at the first delivery; ConfigurationError for keys that are missing
        or invalid.
        """
        row = connection.execute(_DIGEST_KEY).one()
        opened, place, stored = EncryptionKeys(keys, Binding(row.binding)), Place.of_digest_key(row.id), row.digest_key
        if stored is None:
            made = opened.encrypt(secrets.token_urlsafe(32), place)
            stored = connection.scalar(_MAKE_DIGEST_KEY, {"key": made})
        digest_secret = opened.decrypt(stored, place).encode()
        return cls(keys, Binding.DONE if is_bound(bytes(stored)) else opened.binding, digest_secret)


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
