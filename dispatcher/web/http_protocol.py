"""uvicorn's protocol on httptools, which uses a fifth of the CPU of its other one, with what that lacks: a limit on the
head of a request, and head and body of an answer in one write, which costs a system call less."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
NO_SNIFF = (b"x-content-type-options", b"nosniff")  # no browser takes an answer for anything but what it says it is


class DispatcherHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose head does not end within 64 KiB: it is kept in memory until it does."""

    _head_bytes: int | None = None  # of the request whose head is being received

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_JoinedWrites(transport, self.loop))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too long.")

    def send_400_response(self, msg: str) -> None:
        head = (
            b"HTTP/1.1 400 Bad Request",
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(msg),
            b"cache-control: no-store",
            b": ".join(NO_SNIFF),
            b"connection: close",
        )
        self.transport.write(b"\r\n".join([*head, b"", msg.encode("ascii")]))
        self.transport.close()


class _JoinedWrites:
    """A transport that writes once in each turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unwritten: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._unwritten:
            data, self._unwritten = b"".join(self._unwritten), []
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
