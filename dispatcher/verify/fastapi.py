"""A `Receiver` behind a route of FastAPI: `app.post("/hook")(view(receiver))`."""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from dispatcher.verify.receiver import MAX_BODY, Answer, Receiver


def view(receiver: Receiver) -> Callable[[Request], Awaitable[Response]]:
    """What to register for POST (and PUT, if the webhook uses it). `hand_over` runs in a thread."""

    async def receive(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _response(Answer(413))
        return _response(await run_in_threadpool(receiver.answer, request.headers, bytes(body)))

    return receive


def _response(answer: Answer) -> Response:
    return Response(answer.text, answer.status, media_type="text/plain")
