"""Clients that read one thing over and over, as fast as they are answered: a program of its own, so that what it does
takes nothing from the client that measures."""

import select
import socket
import sys
import time
from contextlib import ExitStack

from dispatcher.embedded.servers.ports import LOOPBACK

LISTS = ("/bulksms/v1/webhooks", "/v1/webhooks?limit=100", "/v1/deliveries?limit=100", "/v1/events?limit=100")


def read(port: int, token: str, connections: int, seconds: float) -> int:
    """Reads the lists, divided among the connections, one after the other. Returns how many answers came whole."""
    ends_at, answers = time.monotonic() + seconds, 0
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        open_: dict[int, tuple[socket.socket, bytes]] = {}

        def ask(path: bytes) -> None:
            one = socket.create_connection((LOOPBACK, port), timeout=30)
            head = b"GET %b HTTP/1.1\r\nhost: api\r\nauthorization: Bearer %b\r\nconnection: close\r\n\r\n"
            one.sendall(head % (path, token.encode()))
            poll.register(one, select.EPOLLIN)
            open_[one.fileno()] = one, path

        for number in range(connections):
            ask(LISTS[number % len(LISTS)].encode())
        while time.monotonic() < ends_at:
            for number, _ in poll.poll(0.1):
                one, path = open_[number]
                if one.recv(1 << 20):
                    continue
                poll.unregister(one)
                del open_[number]
                one.close()
                answers += 1
                ask(path)
        for one, _ in open_.values():
            one.close()
    return answers


if __name__ == "__main__":
    print(read(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))  # noqa: T201
