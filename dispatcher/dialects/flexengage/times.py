"""Times as flexEngage writes them."""

from datetime import UTC, datetime


def whole_seconds(moment: datetime) -> datetime:
    """In UTC, without a fraction: `2019-08-24T14:15:22Z` in JSON."""
    return moment.astimezone(UTC).replace(microsecond=0)
