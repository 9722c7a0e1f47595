"""What every request goes through: it gets an id, its body has a limit, and no defect shows more than that id."""

import asyncio
import logging
import traceback
from http import HTTPStatus

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dispatcher.api.problems import Answer, Problem, internal_error
from dispatcher.events import MAX_DATA_BYTES
from dispatcher.ids import new_id

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"
MAX_BODY_BYTES = MAX_DATA_BYTES + 64 * 1024  # the message, and room for the other members and white space
_BODY_SECONDS = 30.0
_DRAINED_BYTES = 8 * MAX_BODY_BYTES


class RequestIds:
    """Gives each request an id, in `request.state.id` and in the answer; inside of another one, the same. A defect is
    logged under it, without the exception's own text: that may hold what the request held."""

    def __init__(self, app: ASGIApp, answer: Answer = Problem.response) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id: str = scope.setdefault("state", {}).setdefault("id", str(new_id()))
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the last resort
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s failed: %s\n%s", request_id, type(error).__name__, frames)
            if not started:
                await self._answer(internal_error())(scope, receive, send_with_id)


async def read_body(request: Request) -> bytes:
    """The body, read up to the limit. Raises Problem 413 for more, 408 for one that does not come to its end."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _read(request)
    except TimeoutError:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not come in time") from None


async def _read(request: Request) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > _DRAINED_BYTES:
        raise _too_large()
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        # A client that is still sending when the answer comes often does not see it, so some more is read, not kept.
        if size > _DRAINED_BYTES:
            break
        if size <= MAX_BODY_BYTES:
            body += chunk
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return bytes(body)


def _too_large() -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than the {MAX_BODY_BYTES} bytes allowed")
