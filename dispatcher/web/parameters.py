"""Parameters of several routes: times, and the rule for event types in OpenAPI."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from dispatcher.event_types import MAX_LENGTH, PATTERN

# How OpenAPI states the rule for event types; refusals are in words.
EVENT_TYPE: dict[str, Any] = {"pattern": f"^{PATTERN}$", "maxLength": MAX_LENGTH}

_DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _no_number(given: object) -> object:
    """Refuses a number: in a query, pydantic would take one for a time."""
    if isinstance(given, str) and not _DATE_AND_TIME.match(given):
        raise ValueError("must be a date and time as in RFC 3339")
    return given


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be in the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Time = Annotated[Moment, BeforeValidator(_no_number)]
Since = Annotated[
    Time | None, Query(description="From this time on: when the event was received, or the change was made.")
]
Until = Annotated[Time | None, Query(description="Before this time.")]
