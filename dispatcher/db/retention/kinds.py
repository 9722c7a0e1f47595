"""The kinds of rows that retention removes, and from when on each goes."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What is kept for its own time. The names are those of the settings, `DISPATCHER_RETENTION_...`."""

    BODIES = "bodies"  # of answers, with their headers: removed from their requests, which stay
    EVENTS = "events"
    DELIVERIES = "deliveries"  # closed ones, counted from their end
    ATTEMPTS = "attempts"  # with their requests
    AUDIT = "audit"
    NOTICES = "notices"  # counted from when their error was last seen


# What goes as whole weeks, in this order: no attempt is without its request for long.
TABLES: Mapping[Kind, tuple[str, ...]] = {
    Kind.EVENTS: ("events",),
    Kind.ATTEMPTS: ("attempts", "requests"),
    Kind.AUDIT: ("audit",),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """How many days each kind is kept (None: for ever), and for which kinds somebody has said so."""

    days: Mapping[str, int | None]
    said: Set[str]

    @classmethod
    def of(cls, settings: Mapping[str, Any], given: Set[str]) -> Self:
        """As these settings say. `given`: the names of those that were set, not left at their defaults."""
        names = {str(kind): f"retention_{kind}" for kind in Kind}
        days = {kind: settings[name] for kind, name in names.items()}
        return cls(days, frozenset(kind for kind, name in names.items() if name in given))

    def until(self, kind: Kind, now: datetime, spared_until: datetime | None) -> datetime | None:
        """What is older goes; None if nothing does. `spared_until`: when what nobody has set a time for begins to
        go."""
        if kind not in self.said and spared_until is not None and now < spared_until:
            return None
        return self.would_go_until(kind, now)

    def would_go_until(self, kind: Kind, now: datetime) -> datetime | None:
        """The same once nothing is spared."""
        days = self.days[kind]
        return max(now - timedelta(days=days), EVER) if days is not None else None
