"""uvicorn's protocol on httptools, which uses a fifth of the CPU of its other one, with what that lacks: limits on what
a client may send and on how long it may take, and head and body of an answer in one write, which costs a system call
less."""

import asyncio
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_URL_BYTES = 8 * 1024  # each escape in it costs as much as many bytes
MAX_HEADERS = 100  # they are looked through again and again; as many trailers
MAX_PARAMETERS = 100  # of a URL: each costs as much as many bytes
NO_SNIFF = (b"x-content-type-options", b"nosniff")  # no browser takes an answer for anything but what it says it is
HEAD_SECONDS = 10.0  # for a head, from its first byte or the connection's beginning, whatever comes meanwhile
UNREAD_SECONDS = 30.0  # in which a client must take some of an answer
HELD_BYTES = 64 * 1024  # of answers to one connection, until the transport says that its client takes nothing
MOST_PIECES = 4_000  # of a body, and one for each of its 256 bytes: each costs as much as that
_MOST_WAITING = 16  # requests of one connection, sent before the answers to those before


class DispatcherHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose head does not end within 64 KiB, because it is kept in memory until it does, or has a
    long URL, many parameters or many headers: anybody can send those, and the event loop takes them apart.

    While a request is served, whoever serves it bounds the time that its body takes. At all other times a
    connection has `HEAD_SECONDS` to come up with the next head, once anything was sent on it, and uvicorn closes it if
    nothing is. So a client cannot hold one by sending a little now and then.
    """

    _head_bytes: int | None = None  # of the request whose head is being received
    _pieces_left = MOST_PIECES  # of the body that is being received
    _why = ""  # the request that is being received is refused
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self._late = self.loop.call_later(HEAD_SECONDS, self._end_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        self.resume_writing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._head_bytes, self._pieces_left = 0, MOST_PIECES
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_URL_BYTES:
            self._refuse("The URL of the request is too long.")
        if self.url.count(b"&") >= MAX_PARAMETERS:
            self._refuse("The URL of the request has too many parameters.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """As its parent's, which is not called: there are many headers."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            self._refuse("The request has too many headers or trailers.")

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._in_time()
        if len(self.pipeline) >= _MOST_WAITING:
            self._refuse("Too many requests wait for the answers to others.")
        super().on_headers_complete()
        self.headers = []  # trailers are no headers: what serves the request never sees them

    def on_body(self, body: bytes) -> None:
        self._pieces_left += len(body) // 256 - 1
        if self._pieces_left < 0:
            self._refuse("The body comes in too many pieces.")
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")
                return
        if self._late is None and (self._head_bytes is not None or self._serves_none()):
            self._late = self.loop.call_later(HEAD_SECONDS, self._end_late)

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_refusal("400 Bad Request", self._why or msg))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, why: str) -> NoReturn:
        """Ends parsing, and the connection."""
        self._why = why
        raise ValueError(why)

    def _serves_none(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_late(self) -> None:
        self._late = None
        if not self._serves_none():
            self.cycle.keep_alive = False  # an answer is on its way, and the last one
        elif not self.transport.is_closing():
            if self._head_bytes:
                self.transport.write(_refusal("408 Request Timeout", "The head of the request came too slowly."))
            self.transport.close()


def _refusal(status: str, text: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}".encode(),
        b"content-type: text/plain; charset=utf-8",
        b"content-length: %d" % len(text),
        b"cache-control: no-store",
        b": ".join(NO_SNIFF),
        b"connection: close",
    )
    return b"\r\n".join([*head, b"", text.encode("ascii")])


class _JoinedWrites:
    """A transport that writes once in each turn of the event loop, but at once what is large: the transport then says
    whether the client takes it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unwritten: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)
        if len(data) > HELD_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():  # it waits for the client, who may never read the rest
            self._loop.call_later(UNREAD_SECONDS, self._transport.abort)

    def _flush(self) -> None:
        if self._unwritten:
            data, self._unwritten = b"".join(self._unwritten), []
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
