"""The two faces of the same pages. Pure."""

from enum import StrEnum


class Kind(StrEnum):
    """Who looks: operators at the whole installation, or people of one account at what is theirs. The value is where it
    is mounted, without the slash, and the kind of its sessions."""

    CONSOLE = "console"
    PORTAL = "portal"
