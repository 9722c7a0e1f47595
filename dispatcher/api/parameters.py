"""What several routes take or answer: texts and times, and the refusals that any of them can come to."""

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from dispatcher.matching import MAX_LENGTH, PATTERN

# What any route that wants a caller may answer.
REFUSALS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
# What reading a body may come to besides.
BODY_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


# How OpenAPI tells the rule for event types; refusals are in words.
EVENT_TYPE: dict[str, Any] = {"pattern": f"^{PATTERN}$", "maxLength": MAX_LENGTH}

_DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _no_number(given: object) -> object:
    """Of what a query holds, pydantic would take a number for a time."""
    if isinstance(given, str) and not _DATE_AND_TIME.match(given):
        raise ValueError("must be a date and time as in RFC 3339")
    return given


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
_Given = Annotated[Moment, BeforeValidator(_no_number)]
Since = Annotated[_Given | None, Query(description="Only what came in at this time or later.")]
Until = Annotated[_Given | None, Query(description="Only what came in before this time.")]
