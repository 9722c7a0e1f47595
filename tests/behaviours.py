"""What a scripted receiver can do with a request: answers, and every misbehaviour that a transport must withstand."""

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Do(Enum):
    """Steps without parameters."""

    CLOSE = "close"  # FIN; bytes sent before it arrive
    HALF_CLOSE = "half_close"  # FIN in our direction, but reading continues (plain connections only)
    CUT = "cut"  # FIN without the end of TLS (of idle connections only)
    RESET = "reset"  # RST
    HANG = "hang"  # sends nothing more until the client disconnects


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drip:
    """Sends byte by byte, `every` seconds apart."""

    data: bytes
    every: float


@dataclass(frozen=True, slots=True)
class Endless:
    """Sends the same bytes again and again until the client disconnects."""

    data: bytes
    every: float = 0.0


class Gate:
    """A step that waits until the test calls `open`, on any number of connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def passed(self) -> None:
        await self._event.wait()


Step = bytes | Do | Pause | Drip | Endless | Gate


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came: `head` is the exact bytes up to the blank line, `connection` numbers accepted connections
    from 1, `nth` numbers the requests on that connection from 1, `at` is monotonic seconds."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    head: bytes
    connection: int
    nth: int
    at: float

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The value of the first header with this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """A well-formed answer after `delay` seconds. Content-Length is added unless the status forbids a body or the
    headers already frame it; `then` are further steps."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: float = 0.0
    then: tuple[Step, ...] = ()

    def steps(self) -> tuple[Step, ...]:
        lines = [f"{name}: {value}" for name, value in self.headers]
        framed = any(name.lower() in {"content-length", "transfer-encoding"} for name, _ in self.headers)
        if not framed and self.status >= 200 and self.status not in {204, 304}:
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join([f"HTTP/1.1 {self.status} Scripted", *lines, "", ""]).encode("latin-1")
        wait: tuple[Step, ...] = (Pause(self.delay),) if self.delay else ()
        return (*wait, head + self.body, *self.then)


Behaviour = Answer | tuple[Step, ...]
Script = Behaviour | Callable[[Received], Behaviour]


# Misbehaviours by name. Those that drip or never end last longer than any deadline of a test.

NO_ANSWER: tuple[Step, ...] = (Do.CLOSE,)
RESET: tuple[Step, ...] = (Do.RESET,)
HANG: tuple[Step, ...] = (Do.HANG,)
GARBAGE: tuple[Step, ...] = (b"\x00\x01\xfe not a protocol\r\n\r\n", Do.CLOSE)
HTTP_0_9: tuple[Step, ...] = (b"<html>ok</html>\r\n", Do.CLOSE)
BARE_101 = Answer(101, (("Connection", "Upgrade"), ("Upgrade", "echo")), then=(Do.HANG,))
HUGE_HEADERS = Answer(200, tuple((f"X-Filler-{n}", "f" * 4000) for n in range(100)))
MANY_HEADERS = Answer(200, tuple((f"X-Filler-{n}", "f") for n in range(1000)))
ENDLESS_HEADERS: tuple[Step, ...] = (b"HTTP/1.1 200 OK\r\n", Endless(b"X-Filler: " + b"f" * 4000 + b"\r\n"))
SLOW_HEADERS: tuple[Step, ...] = (Drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 10_000, every=0.02),)
SLOW_BODY: tuple[Step, ...] = (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", Drip(b"s" * 10_000, every=0.02))
ENDLESS_BODY: tuple[Step, ...] = (b"HTTP/1.1 200 OK\r\n\r\n", Endless(b"e" * 16_384))
SHORT_BODY: tuple[Step, ...] = (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Do.CLOSE)
RESET_IN_BODY: tuple[Step, ...] = (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Pause(0.1), Do.RESET)


def interim(status: int, *headers: tuple[str, str]) -> bytes:
    """An interim answer, which another one must follow."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    return f"HTTP/1.1 {status} Interim\r\n{''.join(lines)}\r\n".encode("latin-1")


def final(status: int, body: bytes = b"") -> bytes:
    """The bytes of a well-formed final answer."""
    (answer,) = Answer(status, body=body).steps()
    assert isinstance(answer, bytes)
    return answer


def chunked(body: bytes, *then: Step) -> tuple[Step, ...]:
    """A 200 with chunked framing; `body` is everything after the head, chunk sizes included."""
    return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body, *then)


def gzipped(body: bytes) -> Answer:
    """A 200 with gzip; a megabyte of zeros makes it a bomb."""
    return Answer(200, (("Content-Encoding", "gzip"),), gzip.compress(body))
