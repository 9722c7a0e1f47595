"""Ports on loopback that refuse a connection, or neither take nor refuse it."""

import socket
from typing import Self


class UnansweringPort:
    """A port on loopback to which a connection is neither accepted nor refused: its queue is full."""

    def __enter__(self) -> Self:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self._waiting: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        for _ in range(64):
            client = socket.socket()
            self._waiting.append(client)
            client.settimeout(0.2)
            try:
                client.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return self
        raise RuntimeError("the queue of a listening socket did not fill up")

    def __exit__(self, *_: object) -> None:
        for client in self._waiting:
            client.close()
        self._listening.close()


def refusing_port() -> int:
    """A port on loopback where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
