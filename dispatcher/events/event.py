"""An event as the producer gives it, and the checks it passes before anything is written."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeAlias
from uuid import UUID

from dispatcher.errors import DispatcherError, InvalidEvent
from dispatcher.event_types import RULE, is_event_type
from dispatcher.events.no_json import formless

MAX_DATA_BYTES = 256 * 1024
MAX_TEXT = 255
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<known>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
)
_TRACEPARENT_LENGTH = 55

Data: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | int | float | bool | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact that happened, for `enqueue_many`. `data` can be written as JSON, or is JSON as bytes (sent as it is).
    `traceparent` is no part of its content: another one with the same idempotency key is the same event."""

    type: str
    data: Data
    account: str
    app: str | None = None
    subject: str | None = None
    idempotency_key: str | None = None
    occurred_at: datetime | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event is stored; `deliveries` webhooks will get it. `repeated`: its key was known, nothing new was stored.

    `nearest_types`: where a new event made 0 deliveries, up to 3 event types that webhooks of its account (and app)
    subscribe to and that are spelt alike, else such message types. Empty where nothing is similar, where there is no
    webhook, and with `connection`, where nothing is read in the caller's transaction.
    """

    event_id: UUID
    deliveries: int
    repeated: bool
    nearest_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The event was not stored; `error` says why. Other events are not affected."""

    error: DispatcherError


def serialise(data: Data, *, is_json: bool = False) -> bytes:
    """The bytes that are stored, signed and sent: compact JSON, UTF-8 unescaped, member order kept.

    JSON as bytes is checked, unless it `is_json` for certain, and kept as it is. Raises InvalidEvent for more than 256
    KiB and for anything that is not JSON (NaN and infinities are not): `path` says where in `data` it is.
    """
    if isinstance(data, bytes):
        if not is_json:
            _check_json(data)
        encoded = data
    else:
        encoded = _encode(data)
    if len(encoded) > MAX_DATA_BYTES:
        raise InvalidEvent("data", f"is {len(encoded)} bytes long, more than the {MAX_DATA_BYTES} allowed")
    return encoded


def content_digest(event: Event, data: bytes) -> bytes:
    """Equal for two events with one idempotency key that are the same: SHA-256 over all that the producer gave."""
    given = [event.type, event.app, event.subject, _iso(event.occurred_at), _iso(event.expires_at)]
    return hashlib.sha256(json.dumps(given).encode() + b"\0" + data).digest()


def read_traceparent(given: object) -> str | None:
    """A place in a trace, as W3C Trace Context writes it, in version 00 of that standard. None for anything that is no
    valid one: the standard says to go on as if there was none, so no event is refused because of it."""
    if not isinstance(given, str):
        return None
    found = _TRACEPARENT.match(given)
    rest = given[_TRACEPARENT_LENGTH:]
    # Newer versions may add fields, each after a hyphen.
    if found is None or (rest and (found["version"] == "00" or rest[0] != "-")):
        return None
    return f"00-{found['known']}"


def check(event: Event) -> None:
    """Raises InvalidEvent naming the first field that cannot be stored (`data` is checked by `serialise`)."""
    if not is_event_type(event.type):
        raise InvalidEvent("type", RULE)
    _check_text("account", event.account, required=True)
    _check_text("app", event.app)
    _check_text("subject", event.subject)
    _check_text("idempotency_key", event.idempotency_key)
    _check_time("occurred_at", event.occurred_at)
    _check_time("expires_at", event.expires_at)


def _encode(data: Data) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError as error:
        raise InvalidEvent("data", _why_no_json(error)) from None
    except (TypeError, ValueError):
        # The error's own text may contain a part of the message, so it is not shown.
        path, what = formless(data) or ("data", "what it holds")
        raise InvalidEvent("data", f"{what} has no JSON form", path=path) from None


def _check_json(data: bytes) -> None:
    try:
        _JSON.decode(data.decode())
    except UnicodeDecodeError:
        raise InvalidEvent("data", "is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("data", _why_no_json(error)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


# Numbers are not converted: `int` would refuse those of more than 4,300 digits, and they are sent as they are.
_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)


def _why_no_json(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"is not JSON: {error.msg} at character {error.pos}"
        case RecursionError():
            return "is nested too deeply"
        case _:
            return "is not JSON: NaN and Infinity have no form in it"


def _check_text(field: str, value: object, *, required: bool = False) -> None:
    if value is None and not required:
        return
    if not isinstance(value, str):
        raise InvalidEvent(field, "must be a string")
    if not 1 <= len(value) <= MAX_TEXT:
        raise InvalidEvent(field, f"must have 1 to {MAX_TEXT} characters")
    if "\0" in value or not _is_utf8(value):
        raise InvalidEvent(field, "holds a character that cannot be stored (NUL or a lone surrogate)")


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# In any time zone: a time that Python cannot represent in UTC could be stored but never read.
_EARLIEST, _LATEST = datetime(2, 1, 1), datetime(9998, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - in any zone


def _check_time(field: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidEvent(field, "must be a datetime")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidEvent(field, "must have a time zone")
    if not _EARLIEST <= value.replace(tzinfo=None) <= _LATEST:
        raise InvalidEvent(field, f"must be in the years {_EARLIEST.year} to {_LATEST.year}")


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
