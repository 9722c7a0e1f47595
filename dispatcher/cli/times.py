"""Points in time as people type them: `2025-01-31`, `2025-01-31T18:00+02:00`, or `90m` for 90 minutes ago."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([0-9]{1,9})([smhdw])")


def read_time(text: str, *, now: datetime) -> datetime:
    """The time in UTC. A time without an offset is UTC. Raises ValueError, which says what is expected."""
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2025-01-31, 2025-01-31T18:00, or 90s, 15m, 1h, 2d, 1w ago") from None
