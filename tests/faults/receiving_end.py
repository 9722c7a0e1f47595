"""The receivers of a storm, in a process of their own: write down each request, then answer by its path.

    /ok/...           204 at once
    /slow/MS/...      204 after so many milliseconds
    /hang/...         never
    /switch/...       204, or 500 while the switch is on
    /answer/POISON    200, with the poison in a header
    /control/on, off  turns the switch

Run as `receiving_end LEDGER PORT_FILE`.
"""

import asyncio
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from tests.faults.ledgers import Received, write_line
from tests.faults.poison import ANSWER_HEADER, PATH

_NUMBER = re.compile(rb'\{"n":"([^"]+)"')
_DONE = b"HTTP/1.1 204 No Content\r\n\r\n"
_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class Receivers:
    """What all connections share."""

    def __init__(self, ledger: TextIO) -> None:
        self._ledger = ledger
        self._switched_on = False

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[float, bytes] | None:
        """How long to wait, and what to answer then; None: nothing, ever."""
        _, kind, *rest = path.split("/")
        if kind == "control":
            self._switched_on = rest == ["on"]
            return 0, _DONE
        delivery = headers.get("dispatcher-delivery-id")
        numbers = tuple(number.decode() for number in _NUMBER.findall(body))
        self._ledger.write(write_line(Received(time.monotonic(), path, delivery, numbers)))
        match kind:
            case "slow":
                return int(rest[0]) / 1000, _DONE
            case "hang":
                return None
            case "switch":
                return 0, _FAILED if self._switched_on else _DONE
            case "answer":
                poison = f"{ANSWER_HEADER}: {path.removeprefix(PATH)} {delivery}\r\n"
                return 0, f"HTTP/1.1 200 OK\r\n{poison}Content-Length: 0\r\n\r\n".encode()
            case _:
                return 0, _DONE


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers, self._data, self._needed = receivers, bytearray(), 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
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
            pause, text = answer
            if pause:
                asyncio.get_running_loop().call_later(pause, self._transport.write, text)
            else:
                self._transport.write(text)


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
