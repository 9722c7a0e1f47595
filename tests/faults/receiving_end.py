"""The receivers of a rig, in a process of their own: write down each request, then answer by its path.

    /ok/...              204 at once
    /slow/MS/...         204 after so many milliseconds
    /hang/...            never
    /fail/...            500
    /again/...           500 to the first request of each delivery, then 204
    /switch/...          204, or 500 while the switch is on
    /moody/...           by its mood
    /answer/POISON       200, with the poison in a header
    /control/on, off     turns the switch
    /control/mood/MOOD   one of `Mood`

Run as `receiving_end LEDGER PORT_FILE`.
"""

import asyncio
import re
import signal
import sys
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TextIO

from tests.faults.ledgers import Received, write_line
from tests.faults.poison import ANSWER_HEADER, PATH

_NUMBER = re.compile(rb'\{"n":"([^"]+)"')
_SLOW_SECONDS, _IDLE_SECONDS, _FLAP_SECONDS = 1.0, 0.3, 0.7


class Mood(StrEnum):
    """How the moody receiver answers."""

    WELL = "well"
    FAILS = "fails"
    SLOW = "slow"
    FLAPS = "flaps"  # fails and answers in turn
    CLOSES_IDLE = "closes-idle"  # answers, and closes the connection a moment later
    CUTS = "cuts"  # closes the connection in the middle of its answer


class Answer(NamedTuple):
    """What is sent after a pause, and when the connection is closed then, if it is."""

    text: bytes
    pause: float = 0.0
    closes_after: float | None = None


_DONE = Answer(b"HTTP/1.1 204 No Content\r\n\r\n")
_FAILED = Answer(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
_CUT = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it", closes_after=0.0)


class Receivers:
    """What all connections share."""

    def __init__(self, ledger: TextIO) -> None:
        self._ledger = ledger
        self._switched_on, self._mood = False, Mood.WELL
        self._failed_once: set[str | None] = set()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """None: no answer, ever."""
        _, kind, *rest = path.split("/")
        if kind == "control":
            if rest[0] == "mood":
                self._mood = Mood(rest[1])
            else:
                self._switched_on = rest == ["on"]
            return _DONE
        delivery, attempt = headers.get("dispatcher-delivery-id"), headers.get("dispatcher-attempt")
        answer = self._answer(path, kind, rest, delivery)
        received = Received(
            at=time.monotonic(),
            path=path,
            delivery=delivery,
            numbers=tuple(number.decode() for number in _NUMBER.findall(body)),
            request=headers.get("dispatcher-request-id"),
            attempt=None if attempt is None else int(attempt),
            answered=answer is not None and answer not in (_FAILED, _CUT),
        )
        self._ledger.write(write_line(received))
        return answer

    def _answer(self, path: str, kind: str, rest: list[str], delivery: str | None) -> Answer | None:
        if kind == "again":
            is_first = delivery not in self._failed_once
            self._failed_once.add(delivery)
            return _FAILED if is_first else _DONE
        if kind == "slow":
            return _DONE._replace(pause=int(rest[0]) / 1000)
        if kind == "answer":
            poison = f"{ANSWER_HEADER}: {path.removeprefix(PATH)} {delivery}\r\n"
            return Answer(f"HTTP/1.1 200 OK\r\n{poison}Content-Length: 0\r\n\r\n".encode())
        always = {
            "hang": None,
            "fail": _FAILED,
            "switch": _FAILED if self._switched_on else _DONE,
            "moody": self._moody(),
        }
        return always.get(kind, _DONE)

    def _moody(self) -> Answer:
        match self._mood:
            case Mood.FAILS:
                return _FAILED
            case Mood.SLOW:
                return _DONE._replace(pause=_SLOW_SECONDS)
            case Mood.FLAPS:
                return _FAILED if time.monotonic() // _FLAP_SECONDS % 2 else _DONE
            case Mood.CLOSES_IDLE:
                return _DONE._replace(closes_after=_IDLE_SECONDS)
            case Mood.CUTS:
                return _CUT
            case Mood.WELL:
                return _DONE


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers, self._data, self._needed = receivers, bytearray(), 0
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._data += data
        if len(self._data) < self._needed or (head := self._data.find(b"\r\n\r\n")) < 0:
            return
        first, *lines = self._data[:head].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._needed = head + 4 + int(headers.get("content-length", 0))
        if len(self._data) < self._needed:
            return
        body = bytes(self._data[head + 4 : self._needed])
        del self._data[: self._needed]
        self._needed = 0
        if answer := self._receivers.take(first.split(" ")[1], headers, body):
            if answer.pause:
                asyncio.get_running_loop().call_later(answer.pause, self._give, answer)
            else:
                self._give(answer)

    def _give(self, answer: Answer) -> None:
        self._transport.write(answer.text)
        if answer.closes_after is not None:
            self._closing = asyncio.get_running_loop().call_later(answer.closes_after, self._transport.close)


async def serve(ledger: Path, port_file: Path) -> None:
    """Serves until SIGTERM."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    with ledger.open("a", buffering=1) as lines:
        receivers = Receivers(lines)
        server = await loop.create_server(lambda: Connection(receivers), "127.0.0.1", 0, backlog=4096)
        written = port_file.with_suffix(".new")
        written.write_text(str(server.sockets[0].getsockname()[1]))
        written.rename(port_file)
        await ended.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
