"""A bare HTTP receiver in its own process: counts what it gets, and answers at once, late, never, or by a switch.

    /ok             204 at once
    /sleep?ms=50    204 after that time
    /hang           reads, and never answers
    /switch         503, until the board's switch is on; then 204

Run as `receiver.py BOARD SIZE`. It imports nothing of ours and is as cheap as possible, because it shares the machine
with what is measured. One request at a time on a connection (no pipelining).
"""

import heapq
import mmap
import resource
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

KINDS = ("ok", "sleep", "hang", "switch")
_COUNTS = struct.Struct("=QQdd")  # requests, messages, first and last arrival (monotonic seconds)
_HEAD = struct.Struct("=HB5x")  # port (0: not listening yet), whether the switch is on
BOARD_SIZE = _HEAD.size + len(KINDS) * _COUNTS.size

_ANSWER = b"HTTP/1.1 204 No Content\r\nServer: bench\r\n\r\n"
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Board:
    """Memory that the receiver shares with the program that started it, as a file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), BOARD_SIZE)

    @property
    def port(self) -> int:
        return int(_HEAD.unpack_from(self._memory)[0])

    @property
    def switch(self) -> bool:
        return bool(_HEAD.unpack_from(self._memory)[1])

    def set_head(self, port: int, *, switch: bool) -> None:
        _HEAD.pack_into(self._memory, 0, port, switch)

    def read(self, kind: int) -> tuple[int, int, float, float]:
        """(requests, messages, first arrival, last arrival) of a kind; arrivals are 0 before the first."""
        requests, messages, first, last = _COUNTS.unpack_from(self._memory, _HEAD.size + kind * _COUNTS.size)
        return requests, messages, first, last

    def write(self, kind: int, counts: tuple[int, int, float, float]) -> None:
        _COUNTS.pack_into(self._memory, _HEAD.size + kind * _COUNTS.size, *counts)


def serve(board: Board, size: int) -> None:
    """Serves forever. `size`: bytes of one message, used to count the messages in an array without parsing it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    partial: dict[int, bytes] = {}
    asleep: list[tuple[float, int, socket.socket]] = []
    board.set_head(listener.getsockname()[1], switch=False)
    while True:
        timeout = max(asleep[0][0] - time.monotonic(), 0) if asleep else -1
        for fd, _ in poll.poll(timeout):
            if fd == listener.fileno():
                _accept(listener, poll, connections)
                continue
            connection = connections[fd]
            try:
                data = connection.recv(262_144)
            except OSError:
                data = b""
            if not data:
                poll.unregister(fd)
                del connections[fd]
                partial.pop(fd, None)
                connection.close()
                continue
            if fd in partial:
                data = partial.pop(fd) + data
            length = _complete(data)
            if length is None:
                partial[fd] = data
                continue
            now = time.monotonic()
            kind, pause = _kind(data)
            _note(board, kind, (length + 1) // (size + 1), now)  # n messages in an array have n * (size + 1) + 1 bytes
            if kind == 1:
                heapq.heappush(asleep, (now + pause, fd, connection))
            elif kind != 2:
                _answer(connection, _ANSWER if kind == 0 or board.switch else _REFUSAL)
        while asleep and asleep[0][0] <= time.monotonic():
            _answer(heapq.heappop(asleep)[2], _ANSWER)


def _accept(listener: socket.socket, poll: select.epoll, connections: dict[int, socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)


def _complete(data: bytes) -> int | None:
    """The length of a request's body if the request is complete; None while some of it is missing."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    at = data[:head].lower().find(b"\r\ncontent-length:")
    length = int(data[at + 17 : data.find(b"\r\n", at + 2)]) if at >= 0 else 0
    return length if len(data) >= head + 4 + length else None


def _kind(data: bytes) -> tuple[int, float]:
    """(kind, seconds to sleep), from the path of a request."""
    path = data[data.find(b"/") + 1 : data.find(b" ", data.find(b"/"))]
    name, _, query = path.partition(b"?")
    kind = KINDS.index(name.decode())
    return kind, int(query.removeprefix(b"ms=")) / 1000 if query else 0.0


def _note(board: Board, kind: int, messages: int, now: float) -> None:
    requests, known, first, _ = board.read(kind)
    board.write(kind, (requests + 1, known + messages, first or now, now))


def _answer(connection: socket.socket, answer: bytes) -> None:
    with suppress(OSError):  # it was closed; reading from it will show that
        connection.send(answer)


if __name__ == "__main__":
    serve(Board(Path(sys.argv[1])), int(sys.argv[2]))
