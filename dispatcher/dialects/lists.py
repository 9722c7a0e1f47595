"""A dialect's list of webhooks. It is whole, because no vendor has pages; it is read in pieces, each in its own
transaction, and sent as it is made. So neither its length nor a slow reader holds memory, a thread or a connection."""

from collections.abc import AsyncIterator, Callable
from uuid import UUID

from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from dispatcher.dialects.frame import OwnWebhooks
from dispatcher.dialects.view import WebhookView


def whole_list(
    own: OwnWebhooks,
    document: Callable[[WebhookView], BaseModel],
    *,
    app: str | None = None,
    around: BaseModel | None = None,
) -> Response:
    """The answer: the documents of all webhooks, or those of one app, oldest first. `around` is the answer without
    webhooks (None: a bare array). The first piece is read here, so that what fails is told as in any other answer; what
    fails later ends the connection before the end of the document."""

    def piece(after: UUID | None) -> tuple[bytes, UUID | None]:
        found, last = own.piece(after, app=app)
        return b",".join(document(each).model_dump_json(by_alias=True).encode() for each in found), last

    first, last = piece(None)
    empty = around.model_dump_json().encode() if around is not None else b"[]"
    start, _, end = empty.partition(b"[]")

    async def parts() -> AsyncIterator[bytes]:
        text, reached = first, last
        yield start + b"[" + text
        is_empty = not text
        while reached is not None:
            async with own.next_turn():
                text, reached = await run_in_threadpool(piece, reached)
            if text:
                yield text if is_empty else b"," + text
                is_empty = False
        yield b"]" + end

    return StreamingResponse(parts(), media_type="application/json")
