"""A call of the API: the request that it is, and what its answer means. Pure."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from dispatcher.client.decoding import decode
from dispatcher.client.errors import Problem, UnexpectedAnswer

T_co = TypeVar("T_co", covariant=True)

Id: TypeAlias = UUID | str


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call. `answers` has the type of the document of each status that is no problem; None: it has no body.
    `repeatable`: once or twice is the same."""

    method: str
    path: str
    answers: Mapping[int, type[T_co] | None]
    query: Mapping[str, object] = field(default_factory=dict)  # None: left out
    headers: Mapping[str, str | None] = field(default_factory=dict)  # likewise
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    form: bool = False
    key_in: Literal["Bearer", "Basic"] | None = "Bearer"
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    method: str
    path: str  # with its query
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)


def segment(name: object) -> str:
    """A part of a path. Dots alone would mean another path."""
    text = quote(str(name), safe="")
    return text.replace(".", "%2E") if text in {".", ".."} else text


def request_of(call: Call[Any], key: str) -> Request:
    """The request of a call with an API key or an access token. Raises TypeError or ValueError for a value that has no
    form in JSON."""
    query = urlencode({name: _text(value) for name, value in call.query.items() if value is not None})
    headers = {name: value for name, value in call.headers.items() if value is not None}
    content = None
    if call.form:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        content = urlencode(call.body or {}).encode()
    elif call.body is not None:
        headers["Content-Type"] = "application/json"
        content = _json(call.body).encode()
    if call.key_in == "Bearer":
        headers["Authorization"] = f"Bearer {key}"
    elif call.key_in == "Basic" and "client_secret" not in (call.body or {}):  # a key is shown once
        headers["Authorization"] = f"Basic {base64.b64encode(key.replace('.', ':', 1).encode()).decode()}"
    return Request(call.method, f"{call.path}?{query}" if query else call.path, headers, content)


def seconds_to_wait(headers: Mapping[str, str]) -> int | None:
    """What `Retry-After` says, if it says seconds."""
    said = headers.get("Retry-After", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None


def answer_of(call: Call[T_co], status: int, headers: Mapping[str, str], content: bytes) -> T_co:
    """The document of an answer. Raises Problem if it is one, UnexpectedAnswer if it is not the API's."""
    try:
        document = json.loads(content) if content else None
        if status in call.answers:
            found: T_co = decode(call.answers[status] or type(None), document)
            return found
        problem = _problem(status, headers, document)
    except ValueError as error:
        reason = "it is not JSON" if isinstance(error, UnicodeDecodeError | json.JSONDecodeError) else str(error)
        raise UnexpectedAnswer(status, reason) from None
    raise problem


def _problem(status: int, headers: Mapping[str, str], document: Any) -> Problem:
    match document:
        case {"title": str(title), "detail": str(detail)} if status >= 400:
            refused = decode(list[dict[str, str]], document.get("errors", []), "the problem.errors")
        case {"error": str(title), "error_description": str(detail)} if status >= 400:  # of a token: RFC 6749, 5.2
            refused = []
        case _:
            raise ValueError("it is neither what the call answers nor a problem")
    return Problem(
        status,
        title,
        detail,
        errors={one.get("field", ""): one.get("reason", "") for one in refused},
        retry_after=seconds_to_wait(headers),
        request_id=headers.get("X-Request-Id"),
    )


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _json(body: object) -> str:
    return json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_in_json)


def _in_json(value: object) -> str:
    if isinstance(value, UUID | datetime):
        return _text(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
