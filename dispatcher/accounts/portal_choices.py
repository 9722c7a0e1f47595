"""What somebody may choose for a link to the portal. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from dispatcher.errors import InvalidLink
from dispatcher.settings.origins import origin_of

LINK_SECONDS, MOST_LINK_SECONDS = 5 * 60, 60 * 60
SESSION_SECONDS, LEAST_SESSION_SECONDS, MOST_SESSION_SECONDS = 8 * 60 * 60, 60, 24 * 60 * 60
MOST_TEXT = 255  # characters of the user and the path
MOST_URL = 2_048

# Of a page: no dots alone, which a browser would resolve, and nothing that begins another address.
_PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.-]+)*")


class PortalScope(StrEnum):
    """What a customer may do in the portal: look, change and redeliver, see signing keys and URLs in clear."""

    READ = "read"
    MANAGE = "manage"
    SECRETS = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalChoices:
    """A link that is asked for, with its session. `path` is where that begins, below /portal; `user` is the platform's
    own id of its user; a page of `embed_origin` shows the portal in a frame; `return_url` leads back."""

    scopes: Collection[PortalScope]
    user: str | None = None
    expires_in: int = LINK_SECONDS
    session_seconds: int = SESSION_SECONDS
    embed_origin: str | None = None
    return_url: str | None = None
    theme: Literal["light", "dark"] | None = None
    path: str = ""

    @property
    def lasts(self) -> timedelta:
        """How long the link can be used."""
        return timedelta(seconds=self.expires_in)


def check_choices(chosen: PortalChoices, *, ancestors: Collection[str], return_origins: Collection[str]) -> None:
    """Raises InvalidLink. `ancestors` are the origins that may show the portal in a frame, `return_origins` those that
    it may lead back to."""
    if PortalScope.READ not in chosen.scopes:
        raise InvalidLink("scopes", "must hold `read`")
    _check_number("expires_in", chosen.expires_in, 1, MOST_LINK_SECONDS)
    _check_number("session_seconds", chosen.session_seconds, LEAST_SESSION_SECONDS, MOST_SESSION_SECONDS)
    if chosen.user is not None and not (0 < len(chosen.user) <= MOST_TEXT and chosen.user.isprintable()):
        raise InvalidLink("user", f"must have 1 to {MOST_TEXT} printable characters")
    if len(chosen.path) > MOST_TEXT or not _PATH.fullmatch(chosen.path):
        raise InvalidLink("path", "must be the path of a page in the portal, like /webhooks")
    if chosen.embed_origin is not None and chosen.embed_origin not in ancestors:
        raise InvalidLink("embed_origin", "must be one of the origins in DISPATCHER_PORTAL_ANCESTORS, as written there")
    if chosen.return_url is not None:
        url = chosen.return_url
        if len(url) > MOST_URL or not url.isprintable() or " " in url or origin_of(url) not in return_origins:
            raise InvalidLink("return_url", "must begin with one of the origins in DISPATCHER_PORTAL_RETURN_ORIGINS")


def _check_number(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidLink(field, f"must be from {least:,} to {most:,} seconds")
