"""What PostgreSQL stores and Python has no value for: read as a value far off, so that one row does not fail a
statement that reads many. Whatever Python has is read as it is."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2 import extensions

# Far from the ends of what Python has, so that adding and subtracting spans cannot leave it.
EARLIEST, LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
LONGEST = timedelta(days=365_000)

_TIME, _TIMES, _SPAN = (1184,), (1185,), (1186,)  # PostgreSQL's numbers of timestamptz, timestamptz[] and interval


def read_odd_values(connection: Any, _record: object = None) -> None:
    """Makes a new connection read times before and after all that Python knows, infinity, and longer spans."""
    moment = extensions.new_type(_TIME, "moment", _moment)
    extensions.register_type(moment, connection)
    extensions.register_type(extensions.new_array_type(_TIMES, "moments", moment), connection)
    extensions.register_type(extensions.new_type(_SPAN, "span", _span), connection)


def read_json(text: str) -> Any:
    """A JSON document. A number with too many digits becomes infinity."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text, parse_int=float)


def _moment(text: str | None, cursor: object) -> datetime | None:
    if text is None:
        return None
    if text.endswith("infinity"):
        return EARLIEST if text.startswith("-") else LATEST
    try:
        moment: datetime = extensions.PYDATETIMETZ(text, cursor)
    except ValueError:
        return EARLIEST if text.endswith("BC") else LATEST
    return moment


def _span(text: str | None, cursor: object) -> timedelta | None:
    if text is None:
        return None
    try:
        span: timedelta = extensions.PYINTERVAL(text, cursor)
    except (ValueError, OverflowError):
        return -LONGEST if text.startswith("-") else LONGEST
    return min(max(span, -LONGEST), LONGEST)
