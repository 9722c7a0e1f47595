"""A bare HTTP receiver in its own process: counts what it gets, and answers at once, late, never, or by a switch.

    /ok             204 at once
    /sleep?ms=50    204 after that time
    /hang           reads, and never answers
    /switch         503, until the board's switch is on; then 204
    /timed          204 at once; notes when the message with this number as its id came

Run as `receiver.py BOARD SIZE [LISTENERS [PEM PROTOCOL]]`: it listens on so many ports, with a PEM file behind TLS, and
then speaks PROTOCOL, `h2` or `http/1.1`. It imports nothing of ours and is as cheap as possible, because it shares the
machine with what is measured. One request at a time on a connection of HTTP/1.1 (no pipelining).
"""

import heapq
import mmap
import re
import resource
import select
import socket
import ssl
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

KINDS = ("ok", "sleep", "hang", "switch", "timed")
MOST_LISTENERS, MOST_TIMED = 512, 65_536
_COUNTS = struct.Struct("=QQdd")  # requests, messages, first and last arrival (monotonic seconds)
_SWITCH = struct.Struct("=B7x")
_OPENED = struct.Struct("=QQ")  # connections, those of them that resumed a TLS session
_PORTS = struct.Struct(f"={MOST_LISTENERS}H")  # 0: not listening
_ARRIVAL = struct.Struct("=d")
_PORTS_AT = _SWITCH.size + _OPENED.size
_COUNTS_AT = _PORTS_AT + _PORTS.size
_ARRIVALS_AT = _COUNTS_AT + len(KINDS) * _COUNTS.size
BOARD_SIZE = _ARRIVALS_AT + MOST_TIMED * _ARRIVAL.size

_ANSWER = b"HTTP/1.1 204 No Content\r\nServer: bench\r\n\r\n"
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_NUMBER = re.compile(rb'"id": ?"([0-9]{1,5})"')

# HTTP/2: kinds of frames, flags, and the ninth entry of HPACK's static table
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _WINDOW_UPDATE = 0, 1, 4, 8
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_STATUS_204 = b"\x89"


class Board:
    """Memory that the receiver shares with the program that started it, as a file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), BOARD_SIZE)

    @property
    def ports(self) -> list[int]:
        return [port for port in _PORTS.unpack_from(self._memory, _PORTS_AT) if port]

    def set_ports(self, ports: list[int]) -> None:
        _PORTS.pack_into(self._memory, _PORTS_AT, *ports, *[0] * (MOST_LISTENERS - len(ports)))

    @property
    def switch(self) -> bool:
        return bool(_SWITCH.unpack_from(self._memory)[0])

    def turn(self, *, on: bool) -> None:
        _SWITCH.pack_into(self._memory, 0, on)

    @property
    def opened(self) -> tuple[int, int]:
        """(connections that have carried something, those of them that resumed a TLS session)."""
        connections, resumed = _OPENED.unpack_from(self._memory, _SWITCH.size)
        return connections, resumed

    def note_opened(self, *, resumed: bool) -> None:
        connections, others = self.opened
        _OPENED.pack_into(self._memory, _SWITCH.size, connections + 1, others + resumed)

    def read(self, kind: int) -> tuple[int, int, float, float]:
        """(requests, messages, first arrival, last arrival) of a kind; arrivals are 0 before the first."""
        requests, messages, first, last = _COUNTS.unpack_from(self._memory, _COUNTS_AT + kind * _COUNTS.size)
        return requests, messages, first, last

    def write(self, kind: int, counts: tuple[int, int, float, float]) -> None:
        _COUNTS.pack_into(self._memory, _COUNTS_AT + kind * _COUNTS.size, *counts)

    def arrival(self, number: int) -> float:
        """When the message with this number first came to /timed; 0 before."""
        return float(_ARRIVAL.unpack_from(self._memory, _ARRIVALS_AT + number * _ARRIVAL.size)[0])

    def note_arrival(self, number: int, now: float) -> None:
        if not self.arrival(number):
            _ARRIVAL.pack_into(self._memory, _ARRIVALS_AT + number * _ARRIVAL.size, now)

    def forget_arrivals(self) -> None:
        self._memory[_ARRIVALS_AT:BOARD_SIZE] = bytes(BOARD_SIZE - _ARRIVALS_AT)


class Http2:
    """One connection of HTTP/2: as much of it as a client needs that sends a body and wants a 204. It decodes no
    headers, so all requests count as /ok."""

    def __init__(self) -> None:
        self._data, self._lengths = b"", dict[int, int]()
        self._answer = _frame(_SETTINGS) + _frame(_WINDOW_UPDATE, payload=(2**31 - 65536).to_bytes(4, "big"))

    def take(self, data: bytes) -> tuple[bytes, list[int]]:
        """(what to send, the lengths of the bodies that are complete now)."""
        answer, complete, self._answer = self._answer, [], b""
        data, at = self._data + data, 0
        if data.startswith(_PREFACE):
            at = len(_PREFACE)
        while len(data) >= at + 9 and len(data) >= (ends := at + 9 + int.from_bytes(data[at : at + 3], "big")):
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big")
            if kind == _SETTINGS and not flags:
                answer += _frame(_SETTINGS, _ACK)
            elif kind in {_HEADERS, _DATA}:
                self._lengths[stream] = self._lengths.get(stream, 0) + (ends - at - 9 if kind == _DATA else 0)
                if flags & _END_STREAM:
                    complete.append(self._lengths.pop(stream))
                    answer += _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _STATUS_204)
            at = ends
        self._data = data[at:]
        return answer, complete


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Server:
    """`size`: bytes of one message, used to count the messages in an array without parsing it."""

    def __init__(self, board: Board, size: int, listeners: int = 1, tls: ssl.SSLContext | None = None) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._board, self._size, self._tls = board, size, tls
        self._poll = select.epoll()
        self._listeners = {one.fileno(): one for one in [_listener() for _ in range(listeners)]}
        self._connections: dict[int, socket.socket] = {}
        self._new: set[int] = set()  # connections that have carried nothing yet
        self._partial: dict[int, bytes] = {}
        self._http2: dict[int, Http2] = {}
        self._asleep: list[tuple[float, int, socket.socket]] = []

    def serve(self) -> None:
        """Serves forever."""
        for fd in self._listeners:
            self._poll.register(fd, select.EPOLLIN)
        self._board.set_ports([one.getsockname()[1] for one in self._listeners.values()])
        asleep = self._asleep
        while True:
            timeout = max(asleep[0][0] - time.monotonic(), 0) if asleep else -1
            for fd, _ in self._poll.poll(timeout):
                if fd in self._listeners:
                    self._accept(self._listeners[fd])
                else:
                    self._read(fd, self._connections[fd])
            while asleep and asleep[0][0] <= time.monotonic():
                _answer(heapq.heappop(asleep)[2], _ANSWER)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            fd = connection.fileno()
            self._connections[fd] = connection
            self._new.add(fd)
            self._poll.register(fd, select.EPOLLIN)

    def _read(self, fd: int, connection: socket.socket) -> None:
        try:
            data = connection.recv(262_144)  # behind TLS this also answers the handshake
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self._close(fd, connection)
            return
        if fd in self._new:
            self._begin(fd, connection)
        if fd in self._http2:
            answer, lengths = self._http2[fd].take(data)
            for length in lengths:
                self._note(0, length, time.monotonic())
            _answer(connection, answer)
            return
        if fd in self._partial:
            data = self._partial.pop(fd) + data
        length_now = _complete(data)
        if length_now is None:
            self._partial[fd] = data
        else:
            self._take(fd, connection, data, length_now)

    def _begin(self, fd: int, connection: socket.socket) -> None:
        """Counts a connection, on which the first bytes have come."""
        self._new.remove(fd)
        tls = connection if isinstance(connection, ssl.SSLSocket) else None
        self._board.note_opened(resumed=bool(tls and tls.session_reused))
        if tls and tls.selected_alpn_protocol() == "h2":
            self._http2[fd] = Http2()

    def _take(self, fd: int, connection: socket.socket, data: bytes, length: int) -> None:
        """Takes one request of HTTP/1.1."""
        now = time.monotonic()
        kind, pause = _kind(data)
        self._note(kind, length, now)
        name = KINDS[kind]
        if name == "sleep":
            heapq.heappush(self._asleep, (now + pause, fd, connection))
        elif name != "hang":
            if name == "timed" and (number := _NUMBER.search(data)):
                self._board.note_arrival(int(number[1]), now)
            _answer(connection, _REFUSAL if name == "switch" and not self._board.switch else _ANSWER)

    def _note(self, kind: int, length: int, now: float) -> None:
        requests, known, first, _ = self._board.read(kind)
        messages = (length + 1) // (self._size + 1)  # n of them in an array have n * (size + 1) + 1 bytes
        self._board.write(kind, (requests + 1, known + messages, first or now, now))

    def _close(self, fd: int, connection: socket.socket) -> None:
        self._poll.unregister(fd)
        self._new.discard(fd)
        for kept in (self._connections, self._partial, self._http2):
            kept.pop(fd, None)
        connection.close()


def tls_context(pem: str, protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.set_alpn_protocols([protocol])
    return context


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    return listener


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


def _answer(connection: socket.socket, answer: bytes) -> None:
    with suppress(OSError):  # it was closed; reading from it will show that
        connection.send(answer)


if __name__ == "__main__":
    _, where, message_size, *given = sys.argv
    tls = tls_context(*given[1:]) if given[1:] else None
    Server(Board(Path(where)), int(message_size), int(given[0]) if given else 1, tls).serve()
