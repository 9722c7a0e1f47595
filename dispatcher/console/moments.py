"""Times that people give, in their own zone. Pure."""

from datetime import UTC, datetime, tzinfo

from dispatcher.errors import InvalidFilter


def read_moment(field: str, given: str, zone: tzinfo) -> datetime | None:
    """The time of a field for times, which has no zone, in UTC; None if it is empty. Raises InvalidFilter."""
    if not given:
        return None
    try:
        moment = datetime.fromisoformat(given)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidFilter(field, "must be a date and a time, such as 2026-11-29T14:30") from None
