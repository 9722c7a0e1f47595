"""A server on loopback that implements just enough HTTP/2 to answer 200 to everything; it decodes no headers."""

import socket
import ssl
import threading
from contextlib import suppress
from time import sleep
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STATUS_200 = b"\x88"  # the eighth entry of HPACK's static table


class Http2Receiver:
    """Counts connections (`connections`) and streams (`streams`), and keeps the body of each request (`bodies`). Soon
    after each answer it sends a PING, as servers do on idle connections. With `answers` False it only reads. `breaking`
    is sent in place of an answer, or with `begins` in place of its body."""

    def __init__(
        self, tls: ssl.SSLContext, *, answers: bool = True, breaking: bytes = b"", begins: bool = False
    ) -> None:
        self._answers, self._breaking, self._begins = answers, breaking, begins
        tls.set_alpn_protocols(["h2", "http/1.1"])
        self._listening = tls.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.port: int = self._listening.getsockname()[1]
        self.connections = self.streams = 0
        self.bodies: list[bytes] = []
        self._open: list[socket.socket] = []
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

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError):
            assert _exactly(connection, len(PREFACE)) == PREFACE
            connection.sendall(_frame(SETTINGS, 0, 0))
            bodies: dict[int, bytes] = {}
            while True:
                head = _exactly(connection, 9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                payload = _exactly(connection, int.from_bytes(head[:3], "big"))
                if kind == SETTINGS and not flags & ACK:
                    connection.sendall(_frame(SETTINGS, ACK, 0))
                elif kind == HEADERS:
                    self.streams += 1
                    bodies[stream] = b""
                elif kind == DATA:
                    bodies[stream] += payload
                if kind in {HEADERS, DATA} and flags & END_STREAM:
                    self.bodies.append(bodies.pop(stream))
                    if self._breaking:
                        begun = _frame(HEADERS, END_HEADERS, stream, STATUS_200) if self._begins else b""
                        connection.sendall(begun + self._breaking)
                    elif self._answers:
                        connection.sendall(
                            _frame(HEADERS, END_HEADERS, stream, STATUS_200)
                            + _frame(DATA, END_STREAM, stream, b"taken")
                        )
                        sleep(0.01)
                        connection.sendall(_frame(PING, 0, 0, bytes(8)))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
