"""A client of one thread that keeps many connections busy: the next request goes out when the answer has come."""

import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from dispatcher.embedded.servers.ports import LOOPBACK

_LENGTH = b"content-length: "


@dataclass(frozen=True, slots=True)
class Answers:
    """What came within the measured seconds: how many answers, and how long each took (s)."""

    count: int
    seconds: float
    delays: list[float]


class NotAccepted(Exception):
    """An answer with another status than expected."""


def post(
    port: int, make: Callable[[], bytes], *, connections: int, seconds: float, warm_up: float, begun: Callable[[], None]
) -> Answers:
    """Sends requests as `make` gives them, whole. Calls `begun` after `warm_up` seconds; what came before does not
    count. Raises NotAccepted for an answer without a 2xx."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        sockets, parts, sent_at = {}, dict[int, bytes](), dict[int, float]()
        for _ in range(connections):
            one = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(one, select.EPOLLIN)
            sockets[one.fileno()] = one
        began = time.monotonic()
        for number, one in sockets.items():
            sent_at[number] = time.monotonic()
            one.sendall(make())
        delays, counts_from = list[float](), began + warm_up
        counting, ends_at = False, counts_from + seconds
        while (now := time.monotonic()) < ends_at:
            if not counting and now >= counts_from:
                counting, counts_from = True, now
                delays.clear()
                begun()
            for number, _ in poll.poll(0.1):
                answer = parts.pop(number, b"") + sockets[number].recv(65536)
                if not _is_whole(answer):
                    parts[number] = answer
                    continue
                delays.append(time.monotonic() - sent_at[number])
                sent_at[number] = time.monotonic()
                sockets[number].sendall(make())
        return Answers(len(delays), time.monotonic() - counts_from, delays)


def _is_whole(answer: bytes) -> bool:
    """Raises NotAccepted."""
    head_ends = answer.find(b"\r\n\r\n")
    if head_ends < 0:
        return False
    if answer[9:10] != b"2":
        raise NotAccepted(answer[:500].decode(errors="replace"))
    begins = answer.find(_LENGTH) + len(_LENGTH)
    return len(answer) >= head_ends + 4 + int(answer[begins : answer.find(b"\r", begins)])
