"""A client of one thread that keeps many connections busy: the next request goes out when the answer has come."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from dispatcher.embedded.servers.ports import LOOPBACK

_LENGTH = b"content-length: "
_PATIENCE = 30.0  # seconds for the last answers


@dataclass(frozen=True, slots=True)
class Answers:
    """What came within the measured seconds: how many answers, and how long each took (s); `accepted` counts those
    before and after, too: all that were asked for."""

    count: int
    seconds: float
    delays: list[float]
    accepted: int


class NotAccepted(Exception):
    """An answer with another status than expected."""


def post(
    ports: Sequence[int],
    make: Callable[[], bytes],
    *,
    connections: int,
    seconds: float,
    warm_up: float,
    begun: Callable[[], None],
    ended: Callable[[], None] = lambda: None,
) -> Answers:
    """Sends requests as `make` gives them, whole; the connections are divided among the ports. Calls `begun` after
    `warm_up` seconds, and `ended` after the measured ones; what comes outside of these does not count. Raises
    NotAccepted for an answer without a 2xx."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        sockets, parts, sent_at = {}, dict[int, bytes](), dict[int, float]()
        for number in range(connections):
            one = stack.enter_context(connect(ports[number % len(ports)]))
            poll.register(one, select.EPOLLIN)
            sockets[one.fileno()] = one
        began = time.monotonic()
        for number, one in sockets.items():
            sent_at[number] = time.monotonic()
            one.sendall(make())
        delays, counts_from, accepted = list[float](), began + warm_up, 0
        counting, ends_at, seconds_taken = False, counts_from + seconds, 0.0
        while sent_at:
            now = time.monotonic()
            if not counting and now >= counts_from:
                counting, counts_from, accepted = True, now, accepted + len(delays)
                ends_at = now + seconds
                delays.clear()
                begun()
            if now >= ends_at + _PATIENCE:
                raise NotAccepted("the last answers did not come")
            if not seconds_taken and now >= ends_at:
                seconds_taken = now - counts_from
                ended()
            for number, _ in poll.poll(0.1):
                answer = parts.pop(number, b"") + _received(sockets[number])
                if not _is_whole(answer):
                    parts[number] = answer
                    continue
                took = time.monotonic() - sent_at.pop(number)
                if seconds_taken:
                    accepted += 1
                    continue
                delays.append(took)
                sent_at[number] = time.monotonic()
                sockets[number].sendall(make())
        return Answers(len(delays), seconds_taken, delays, accepted + len(delays))


def connect(port: int) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(connection: socket.socket, request: bytes) -> None:
    """Sends one request and waits for its answer. Raises NotAccepted."""
    connection.sendall(request)
    answer = b""
    while not _is_whole(answer):
        answer += _received(connection)


def _received(connection: socket.socket) -> bytes:
    """What has come. Raises NotAccepted if the connection was closed."""
    if data := connection.recv(65536):
        return data
    raise NotAccepted("the connection was closed")


def _is_whole(answer: bytes) -> bool:
    """Raises NotAccepted."""
    head_ends = answer.find(b"\r\n\r\n")
    if head_ends < 0:
        return False
    if answer[9:10] != b"2":
        raise NotAccepted(answer[:500].decode(errors="replace"))
    at = answer[:head_ends].lower().find(_LENGTH)
    if at < 0:
        if answer[9:12] == b"204":
            return True
        raise NotAccepted("an answer without Content-Length, which this client cannot read")
    begins = at + len(_LENGTH)
    return len(answer) >= head_ends + 4 + int(answer[begins : answer.find(b"\r", begins)])
