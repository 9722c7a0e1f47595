"""What every request goes through: it gets an id for its answer and its log lines, one of which says how it ended, and
a limit for its body. A defect shows nothing but that id, no cache may keep an answer, and none steers a terminal."""

import asyncio
import codecs
import logging
import time
import traceback
from http import HTTPStatus
from urllib.parse import quote

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dispatcher.events.event import MAX_DATA_BYTES
from dispatcher.ids import new_id_text
from dispatcher.masking.terminal import safe_json
from dispatcher.web.access_log import AccessLog
from dispatcher.web.http_protocol import HELD_BYTES, MAX_URL_BYTES, NO_SNIFF
from dispatcher.web.json_bounds import ValueCount
from dispatcher.web.problems import Answer, Problem, internal_error
from dispatcher.web.request_counts import RequestCounts

log = logging.getLogger("dispatcher.api.requests")

_REQUEST_ID = b"x-request-id"
_NO_STORE = (b"cache-control", b"no-store")
_SET_HERE = _REQUEST_ID, NO_SNIFF[0]  # also inside another one
MAX_BODY_BYTES = MAX_DATA_BYTES + 64 * 1024  # the message, and room for the other members and white space
MAX_EVENTS_BYTES = 8 * 1024 * 1024  # of many events in one body
MAX_FORM_BYTES = MAX_URL_BYTES  # who has no key yet may send one
MAX_PAGE_FORM_BYTES = 64 * 1024  # of a page: of who is signed in
MAX_VALUES, MAX_EVENTS_VALUES = 100_000, 250_000  # of JSON: each costs as much as many bytes
MAX_FIELD_VALUES = 1_000  # the largest webhook has half as many, and each that is refused costs as much as a hundred
_BODY_SECONDS = 30.0
_DRAINED_BYTES = 2 * 1024 * 1024
_LOGGED_PATH = 200
_AT_ONCE = 32 * 1024  # characters of an answer that are looked at before others have a turn


class RequestIds:
    """Gives each request an id, in `request.state.id`, in the answer and, as `request_id`, in every line that is logged
    meanwhile; one line says how it ended. A defect is logged without the exception's own text, which may contain data
    of the request. Inside another one, it only gives its form of answer."""

    def __init__(
        self,
        app: ASGIApp,
        log: AccessLog | None = None,
        counts: RequestCounts | None = None,
        answer: Answer = Problem.response,
    ) -> None:
        """`log` and `counts` may be missing inside another one."""
        self._app = app
        self._access_log, self._counts = log, counts
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if "id" in state:
            await self._serve(state["id"], scope, receive, send)
            return
        request_id = state["id"] = new_id_text()
        began = time.monotonic()
        structlog.contextvars.bind_contextvars(request_id=request_id)  # the context is this request's own
        status = await self._serve(request_id, scope, receive, send)
        seconds = time.monotonic() - began
        if self._counts is not None:
            self._counts.ended(scope, status, seconds)
        if self._access_log is not None:
            self._access_log.add(
                {
                    "request_id": request_id,
                    "method": scope["method"],
                    # The query is left out: it may contain a URL to search for, or a session.
                    "path": quote(scope["path"][:_LOGGED_PATH])[:_LOGGED_PATH],
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                    "key": state.get("key"),
                }
            )

    async def _serve(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> int | None:
        status: int | None = None
        head: Message | None = None  # of the answer, sent with its body
        pieces: list[bytes] | None = None  # of a body in JSON
        sift: _SiftedJson | None = None  # for one of unknown length

        async def send_with_id(message: Message) -> None:
            nonlocal status, head, pieces, sift
            if message["type"] == "http.response.start":
                status, head, pieces, sift = message["status"], message, None, None
                headers, has_cache_control, has_length, is_json, is_packed = [], False, False, False, False
                for header in message["headers"]:
                    name = header[0]
                    if name not in _SET_HERE:
                        headers.append(header)
                        has_cache_control = has_cache_control or name == _NO_STORE[0]
                        has_length = has_length or name == b"content-length"
                        is_json = is_json or (name == b"content-type" and b"json" in header[1])
                        is_packed = is_packed or name == b"content-encoding"
                is_json = is_json and not is_packed  # packed it is bytes, not text
                if is_json and has_length:
                    pieces = []
                elif is_json:
                    sift = _SiftedJson()
                # For every answer: many contain secrets, and a list of those would miss the next one.
                if not has_cache_control:
                    headers.append(_NO_STORE)
                message["headers"] = [*headers, NO_SNIFF, (_REQUEST_ID, request_id.encode())]
                return
            if sift is not None:
                message = await sift.safe(message)
            elif pieces is not None and head is not None:
                pieces.append(message.get("body", b""))
                if message.get("more_body", False):
                    return
                message["body"] = await _safe(head, b"".join(pieces))
            if head is not None:
                await send(head)
                head = None
            if len(message.get("body", b"")) > HELD_BYTES and not message.get("more_body", False):
                # The server waits for a slow client before it takes a message, never after the last one. The request
                # must not end, nor its account's turn, while the answer is here.
                await send({**message, "more_body": True})
                message = {"type": message["type"]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the last resort
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s failed: %s\n%s", request_id, type(error).__name__, frames)
            if status is None or head is not None:
                await self._answer(internal_error())(scope, receive, send_with_id)
        return status


async def _safe(head: Message, body: bytes) -> bytes:
    """An answer in JSON, which may repeat what anybody wrote, so that it cannot steer the terminal or the eyes of a
    reader; to programs it is the same."""
    safe = await _safe_json(body.decode(errors="replace"))
    if len(safe) != len(body):
        length = (b"content-length", b"%d" % len(safe))
        head["headers"] = [length if header[0] == length[0] else header for header in head["headers"]]
    return safe


class _SiftedJson:
    """The same for one of unknown length, which is sent as it is made."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a part may end within a character

    async def safe(self, message: Message) -> Message:
        text = self._decoder.decode(message.get("body", b""), final=not message.get("more_body", False))
        return {**message, "body": await _safe_json(text)}


async def _safe_json(text: str) -> bytes:
    parts = [safe_json(text[:_AT_ONCE])]
    for start in range(_AT_ONCE, len(text), _AT_ONCE):
        await asyncio.sleep(0)
        parts.append(safe_json(text[start : start + _AT_ONCE]))
    return "".join(parts).encode()


async def read_body(request: Request) -> bytes:
    """The body, read up to the limits. Raises Problem 413 for more bytes or more values of JSON, 408 for one that does
    not end in time."""
    return await _read_in_time(request, MAX_BODY_BYTES, MAX_VALUES)


async def read_fields(request: Request) -> bytes:
    """As `read_body`, for a body that carries no message: all its values are looked at."""
    return await _read_in_time(request, MAX_BODY_BYTES, MAX_FIELD_VALUES)


async def read_form(request: Request) -> bytes:
    """As `read_body`, with the limit for forms."""
    return await _read_in_time(request, MAX_FORM_BYTES, MAX_VALUES)


async def read_page_form(request: Request) -> bytes:
    """As `read_body`, with the limit for forms of pages."""
    return await _read_in_time(request, MAX_PAGE_FORM_BYTES, MAX_VALUES)


async def read_events_body(request: Request) -> bytes:
    """As `read_body`, with the limits for many events."""
    return await _read_in_time(request, MAX_EVENTS_BYTES, MAX_EVENTS_VALUES)


async def _read_in_time(request: Request, limit: int, most_values: int) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _read(request, limit, most_values)
    except TimeoutError:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not arrive in time") from None


async def _read(request: Request, limit: int, most_values: int) -> bytes:
    # A client that is still sending when the answer comes often misses it, so some more is read, but not kept.
    most = limit + _DRAINED_BYTES
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(limit)
    body = bytearray()
    size = 0
    values, refused = ValueCount(most_values), None
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            break
        if refused is None and size > limit:
            refused = _too_large(limit)
        elif refused is None and values.is_over(body, chunk):
            refused, most = _too_much(f"has more than {most_values} values"), size + _DRAINED_BYTES
        if refused is None:
            body += chunk
    if refused is not None:
        raise refused
    return bytes(body)


def _too_large(limit: int) -> Problem:
    return _too_much(f"is longer than the {limit} bytes allowed")


def _too_much(what: str) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body {what}")
