"""Servers that say they are older than they are: real ones, of whose answers some bytes are replaced on the way."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

POSTGRES_13 = {rb"PostgreSQL \d\d": b"PostgreSQL 13"}
VALKEY = {rb"redis_version:\d\.\d": b"redis_version:6.0"}  # it says what it is like, and what it is
REDIS_6_0 = {**VALKEY, rb"valkey_version": b"nobody_version"}


@contextmanager
def answering(port: int, replaced: Mapping[bytes, bytes]) -> Iterator[int]:
    """The port of one before `port` of this machine. What is replaced must keep its length."""

    def change(data: bytes) -> bytes:
        for pattern, by in replaced.items():
            data = re.sub(pattern, by, data)
        return data

    class Link(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server:
                there = Thread(target=_forward, args=(self.request, server, bytes))
                there.start()
                _forward(server, self.request, change)
                there.join()

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Link) as listening:
        serving = Thread(target=listening.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            serving.join()


def _forward(source: socket.socket, target: socket.socket, change: Any) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(change(data))
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
