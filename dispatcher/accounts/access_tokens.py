"""Tokens that represent an API key: made and checked by a keyed digest, so that none has to be stored.

An access token (OAuth2) expires; a session does not. Both end with their key.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The key that a token represents, and when the token expires (None: it does not)."""

    key_id: UUID
    until: datetime | None


class TokenMint:
    """Makes and reads tokens with a secret of the installation (at least 128 bits)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"access tokens", hashlib.sha256)  # a separate key for tokens

    def access_token(self, key_id: UUID, until: datetime) -> str:
        """A token that expires at a time (aware; whole seconds). Only this class may rely on its form."""
        claims = f"{key_id.hex}.{int(until.timestamp())}"
        return f"at.{claims}.{self._digest(claims)}"

    def session(self, key_id: UUID) -> str:
        """A token that does not expire, in the form that Zipwhip's clients expect: `<uuid>:<number>`."""
        return f"{UUID(self._digest(key_id.hex)[:32])}:{key_id.int}"

    def read(self, token: str) -> TokenClaims | None:
        """What an access token or a session represents; None for anything that was not made here. The caller must check
        whether it has expired."""
        match token.split("."):
            case ["at", key, until, digest] if _is_number(until) and self._fits(f"{key}.{until}", digest):
                return TokenClaims(UUID(key), datetime.fromtimestamp(int(until), UTC))
        _, colon, number = token.partition(":")
        if colon and _is_number(number) and int(number) < 1 << 128:
            key_id = UUID(int=int(number))
            if hmac.compare_digest(self.session(key_id).encode(), token.encode(errors="replace")):
                return TokenClaims(key_id, None)
        return None

    def _fits(self, claims: str, digest: str) -> bool:
        return hmac.compare_digest(self._digest(claims).encode(), digest.encode(errors="replace"))

    def _digest(self, claims: str) -> str:
        return hmac.new(self._secret, claims.encode(errors="replace"), hashlib.sha256).hexdigest()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 39
