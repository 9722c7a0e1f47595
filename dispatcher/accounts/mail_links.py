"""Links in mails, by which the person who got one confirms the address or unsubscribes. Pure.

Made and checked by a keyed digest, so that none has to be stored. The token is in the query, which our logs leave out.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

CONFIRM_WITHIN = timedelta(days=7)
UNSUBSCRIBE_WITHIN = timedelta(days=90)

PATH = "/contact"


class Purpose(StrEnum):
    """What a link is for; it does nothing else."""

    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for, which recipient it was made for, and when it expires."""

    purpose: Purpose
    recipient: UUID
    until: datetime


class MailLinks:
    """Makes and reads links with a secret of the installation (at least 128 bits)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"links in mails", hashlib.sha256)  # a separate key for links

    def token(self, purpose: Purpose, recipient: UUID, until: datetime) -> str:
        """Only this class may rely on its form. `until` counts in whole seconds."""
        claims = f"{purpose}.{recipient.hex}.{int(until.timestamp())}"
        return f"{claims}.{self._digest(claims)}"

    def read(self, token: str) -> Link | None:
        """None for anything that was not made here. The caller must check whether it has expired."""
        claims, _, digest = token.rpartition(".")
        if not hmac.compare_digest(self._digest(claims).encode(), digest.encode(errors="replace")):
            return None
        purpose, recipient, until = claims.split(".")
        return Link(Purpose(purpose), UUID(recipient), datetime.fromtimestamp(int(until), UTC))

    def _digest(self, claims: str) -> str:
        return hmac.new(self._secret, claims.encode(errors="replace"), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class LinksOfMail:
    """The two links for one recipient."""

    confirm: str
    unsubscribe: str

    @classmethod
    def made(cls, links: MailLinks, public_url: str, recipient: UUID, now: datetime) -> Self:
        """`public_url` is where people reach the API."""
        address = f"{public_url}{PATH}?link="
        return cls(
            confirm=address + links.token(Purpose.CONFIRM, recipient, now + CONFIRM_WITHIN),
            unsubscribe=address + links.token(Purpose.UNSUBSCRIBE, recipient, now + UNSUBSCRIBE_WITHIN),
        )
