"""A server on loopback that implements just enough HTTP/2 to answer 200 to everything; it decodes no headers."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from time import sleep
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
FRAME = 16_384  # bytes of a frame's payload at most
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STATUS_200 = b"\x88"  # the eighth entry of HPACK's static table
CONTENT_LENGTH = b"\x0f\x0d"  # the 28th, with a value that is not indexed


class Http2Receiver:
    """Counts connections (`connections`) and streams (`streams`), and keeps the body of each request (`bodies`). If it
    `pings`, it sends a PING soon after each answer, as servers do on idle connections. With `answers` False it only
    reads. `breaking` is sent in place of an answer, or with `begins` in place of its body; `flood` likewise, again
    and again. With `large`, all but the first answer of a connection have a body of so many bytes, which keeps to the
    windows of its reader. With `ending`, it ends each connection that way: after its first answer, when `end` is
    called, or if `ending_at` is 2 in place of the second one."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        answers: bool = True,
        breaking: bytes = b"",
        flood: bytes = b"",
        begins: bool = False,
        large: int = 0,
        ending: "Callable[[ssl.SSLSocket, int], None] | None" = None,
        ending_at: int = 1,
        pings: bool = True,
    ) -> None:
        self._pings = pings
        self._ending, self._ending_at = ending, ending_at
        self._may_end, self._ended = threading.Semaphore(0), threading.Semaphore(0)
        self._answers, self._breaking, self._flood, self._begins = answers, breaking, flood, begins
        self._large = large
        tls.set_alpn_protocols(["h2", "http/1.1"])
        self._listening = tls.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.port: int = self._listening.getsockname()[1]
        self.connections = self.streams = 0
        self.bodies: list[bytes] = []
        self._open: list[ssl.SSLSocket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listening.close()
        for connection in self._open:
            connection.close()

    def end(self) -> None:
        """Ends the connection that was answered last."""
        self._may_end.release()
        assert self._ended.acquire(timeout=10), "the connection was not ended"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )  # or the end waits for an acknowledgement
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: ssl.SSLSocket) -> None:
        with suppress(OSError, EOFError):
            assert _exactly(connection, len(PREFACE)) == PREFACE
            connection.sendall(frame(SETTINGS, 0, 0))
            bodies: dict[int, bytes] = {}
            due: set[int] = set()  # streams whose body waits for a larger window
            nth = 0
            while True:
                head = _exactly(connection, 9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                payload = _exactly(connection, int.from_bytes(head[:3], "big"))
                if kind == SETTINGS and not flags & ACK:
                    connection.sendall(frame(SETTINGS, ACK, 0))
                elif kind == HEADERS:
                    self.streams += 1
                    bodies[stream] = b""
                elif kind == DATA:
                    bodies[stream] += payload
                elif kind == WINDOW_UPDATE and stream in due:
                    due.remove(stream)
                    connection.sendall(self._rest(stream))
                if kind in {HEADERS, DATA} and flags & END_STREAM:
                    self.bodies.append(bodies.pop(stream))
                    nth += 1
                    if self._ending is not None and nth == self._ending_at == 2:
                        return self._ending(connection, stream)
                    if self._breaking or self._flood:
                        self._misbehave(connection, stream)
                    elif self._large and nth > 1:
                        due.add(stream)
                        length = b"%d" % self._large
                        pairs = STATUS_200 + CONTENT_LENGTH + bytes([len(length)]) + length
                        connection.sendall(
                            frame(HEADERS, END_HEADERS, stream, pairs) + 2 * frame(DATA, 0, stream, bytes(FRAME))
                        )
                    elif self._answers:
                        connection.sendall(
                            frame(HEADERS, END_HEADERS, stream, STATUS_200) + frame(DATA, END_STREAM, stream, b"taken")
                        )
                        self._ping(connection)
                        if self._ending is not None and self._ending_at == 1:
                            self._may_end.acquire()
                            _read_all(connection)
                            self._ending(connection, stream)
                            self._ended.release()
                            return None

    def _misbehave(self, connection: ssl.SSLSocket, stream: int) -> None:
        begun = frame(HEADERS, END_HEADERS, stream, STATUS_200) if self._begins else b""
        connection.sendall(begun + self._breaking)
        while self._flood:
            connection.sendall(self._flood)

    def _rest(self, stream: int) -> bytes:
        """Of a large body, after two frames of it."""
        sizes = [min(left, FRAME) for left in range(self._large - 2 * FRAME, 0, -FRAME)]
        return b"".join(frame(DATA, 0, stream, bytes(size)) for size in sizes) + frame(DATA, END_STREAM, stream)

    def _ping(self, connection: ssl.SSLSocket) -> None:
        if self._pings:
            sleep(0.01)
            connection.sendall(frame(PING, 0, 0, bytes(8)))


def _read_all(connection: ssl.SSLSocket) -> None:
    """Reads what has come: otherwise closing would be a reset."""
    connection.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        while connection.recv(65536):
            pass
    connection.setblocking(True)


def go_away(connection: ssl.SSLSocket, stream: int) -> None:
    """Takes no stream after this one; the connection stays open."""
    connection.sendall(frame(GOAWAY, 0, 0, stream.to_bytes(4, "big") + bytes(4)))


def end_tls(connection: ssl.SSLSocket, _stream: int) -> None:
    """Sends the end of TLS, and leaves the socket open."""
    connection.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        connection.unwrap()


def cut(connection: ssl.SSLSocket, _stream: int) -> None:
    """Sends FIN, without the end of TLS."""
    with socket.socket(fileno=connection.detach()) as plain:
        plain.shutdown(socket.SHUT_RDWR)


def go_away_and_close(connection: ssl.SSLSocket, stream: int) -> None:
    go_away(connection, stream)
    end_tls(connection, stream)
    cut(connection, stream)


def reset(connection: ssl.SSLSocket, _stream: int) -> None:
    with socket.socket(fileno=connection.detach()) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
