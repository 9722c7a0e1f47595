"""A real HTTP(S) server on loopback that records what it gets and answers as scripted, misbehaviour included."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.behaviours import Answer, Do, Drip, Endless, Gate, Pause, Received, Script, Step


class Receiver:
    """The server. Use it as a context manager; `script` may be called at any time from any thread.

    A path without a script answers 200 with no body, `/status/503` answers 503, and so on up to 999. `on_connect` are
    steps that run before the first request is read. `requests_per_connection`: the connection is closed silently after
    so many answers. An exception in a scripted function is raised when the context ends.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        on_connect: tuple[Step, ...] = (),
        requests_per_connection: int | None = None,
    ) -> None:
        self._tls, self._host = tls, host
        self._on_connect, self._per_connection = on_connect, requests_per_connection
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._scripts: dict[str, list[Script]] = {}
        self._accepted = 0
        self._idle: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self.port = 0

    # Scripting

    def script(self, path: str, *scripts: Script) -> None:
        """Sets what a path answers: each script once, in order, then the last one forever. Replaces the old script."""
        with self._changed:
            self._scripts[path] = list(scripts)

    def gate(self) -> Gate:
        """A step that holds answers back until its `open` is called."""
        return Gate(self._loop)

    def close_idle(self, how: Do = Do.CLOSE) -> None:
        """Ends, from this side, every connection that waits for a next request. When it returns, the end has been sent.
        Closing over TLS, the socket stays open until the client has ended TLS, too."""

        async def close() -> None:
            for writer in list(self._idle):
                if how is Do.HALF_CLOSE:
                    writer.write_eof()
                    continue
                if how is Do.CLOSE:
                    writer.close()
                elif how is Do.CUT:
                    writer.transport.abort()
                else:
                    _reset(writer)
                if not (self._tls and how is Do.CLOSE):
                    with suppress(OSError):
                        await writer.wait_closed()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    # Observing

    @property
    def origin(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def url(self, path: str = "/") -> str:
        return self.origin + path

    @property
    def received(self) -> list[Received]:
        """All requests so far, in the order in which they were completed."""
        with self._changed:
            return list(self._received)

    def at(self, path: str) -> list[Received]:
        """The requests to one path, whatever their query."""
        return [request for request in self.received if request.path == path]

    @property
    def connections(self) -> int:
        """How many connections have been accepted so far."""
        with self._changed:
            return self._accepted

    def wait_for(self, count: int, timeout: float = 10.0, *, path: str | None = None) -> list[Received]:
        """Waits until `count` requests have come (to `path`, if given) and returns them all."""
        return self.wait_until(lambda seen: len(seen) >= count, timeout, path=path)

    def wait_until(
        self, satisfied: Callable[[list[Received]], bool], timeout: float = 10.0, *, path: str | None = None
    ) -> list[Received]:
        """Waits until `satisfied` is true of the requests so far (to `path`, if given); fails the test after `timeout`
        seconds."""

        def seen() -> list[Received]:
            return [request for request in self._received if path is None or request.path == path]

        with self._changed:
            if not self._changed.wait_for(lambda: satisfied(seen()), timeout):
                raise AssertionError(f"after {timeout} s the receiver has {len(seen())} requests, not what was awaited")
            return seen()

    # Running

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the receiver did not start")
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if error is None and self._error is not None:
            raise self._error

    def close(self) -> None:
        """Ends the server and every connection at once."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(10)
        elif not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            self._error = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._accept, self._host, 0, ssl=self._tls, backlog=2048, limit=4 * 1024 * 1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._changed:
            self._accepted += 1
            number = self._accepted
            self._changed.notify_all()
        task = self._loop.create_task(self._converse(reader, writer, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            nth = 0
            open_still = await self._play(self._on_connect, reader, writer)
            while open_still and nth != self._per_connection:
                self._idle.add(writer)
                first = await reader.readexactly(1)
                self._idle.discard(writer)
                nth += 1
                request = await _read_request(first, reader, number, nth)
                with self._changed:
                    self._received.append(request)
                    behaviour = self._next_script(request.path)
                    self._changed.notify_all()
                if callable(behaviour):
                    behaviour = behaviour(request)
                steps = behaviour.steps() if isinstance(behaviour, Answer) else behaviour
                open_still = await self._play(steps, reader, writer)
        except (OSError, asyncio.IncompleteReadError, EOFError):
            pass  # the client disconnected, as it may
        except Exception as error:  # noqa: BLE001 - a mistake in a script: raised when the context ends
            self._error = error
        else:
            writer.close()  # written data is still sent
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)
        finally:
            self._idle.discard(writer)
            writer.transport.abort()

    def _next_script(self, path: str) -> Script:
        scripts = self._scripts.get(path)
        if scripts:
            return scripts.pop(0) if len(scripts) > 1 else scripts[0]
        if path.startswith("/status/"):
            return Answer(int(path.removeprefix("/status/")))
        return Answer()

    async def _play(self, steps: Iterable[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Runs the steps; returns whether the connection stays open."""
        for step in steps:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Drip(data, every):
                    for byte in data:
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(every)
                case Endless(data, every):
                    while True:
                        writer.write(data)
                        await writer.drain()
                        await asyncio.sleep(every)
                case Gate():
                    await step.passed()
                case Do.CLOSE:
                    return False
                case Do.HALF_CLOSE:
                    writer.write_eof()
                case Do.RESET:
                    _reset(writer)
                    return False
                case Do.HANG:
                    await reader.read(-1)
                    return False
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    # Linger of zero seconds: closing discards unsent data and sends RST.
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _read_request(first: bytes, reader: asyncio.StreamReader, connection: int, nth: int) -> Received:
    head = first + await reader.readuntil(b"\r\n\r\n")
    request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _version = request_line.split(" ", 2)
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    body = await reader.readexactly(length)
    return Received(method, target, headers, body, head, connection, nth, time.monotonic())
