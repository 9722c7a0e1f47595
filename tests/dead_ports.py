"""Ports on loopback that refuse a connection, or neither accept nor refuse it."""

import random
import socket
from typing import Self

from dispatcher.embedded.servers.ports import is_free


class UnansweringPort:
    """A port on loopback that neither accepts nor refuses a connection: its queue is full."""

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
    """A port on loopback where nothing listens, until a test starts a server there.

    It is below the ports that systems assign to anyone who asks for any (from 32768 or 49152 on). Otherwise a
    connection or a server of tests that run at the same time could get it.
    """
    while not is_free(port := random.randrange(20_000, 32_000)):
        pass
    return port
