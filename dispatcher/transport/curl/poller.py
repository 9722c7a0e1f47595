"""Finds sockets that can be read or written, in curl's numbers: by epoll, or what the system has instead (kqueue)."""

import select
import selectors
from contextlib import suppress
from math import ceil
from typing import Protocol

READABLE, WRITABLE = 1, 2  # the same in what curl asks for (CURL_POLL_*) and what it is given (CURL_CSELECT_*)
IDLE_INPUT, IDLE_END = 0, -1  # of a descriptor that is no longer watched: something came; nothing more will come


class Readiness(Protocol):
    """A set of watched descriptors. It never uses select(2), which cannot watch descriptors above 1,023."""

    def watch(self, descriptor: int, wanted: int) -> None:
        """Watches a descriptor for `wanted`, in place of what it was watched for."""
        ...

    def unwatch(self, descriptor: int) -> None:
        """Stops watching it; nothing happens if it is not watched, or closed."""
        ...

    def forget(self, descriptor: int) -> int:
        """Stops watching it, so that nothing about it is reported any more; it may be closed. Returns what it was
        watched for."""
        ...

    def ready(self, seconds: float) -> list[tuple[int, int]]:
        """Descriptors and what they are ready for; waits up to `seconds` for the first, not at all if negative.

        What comes on a descriptor that is no longer watched is reported as well (`IDLE_INPUT`, maybe twice, and
        `IDLE_END`). Not every system does that.
        """
        ...

    def close(self) -> None: ...


_IDLE, _TOLD = 0, -1
if hasattr(select, "epoll"):
    # An error or a hang-up is reported as both: whatever curl waits for, it finds the cause by trying.
    _READ = select.EPOLLIN | select.EPOLLRDHUP
    _EVENTS = (0, _READ, select.EPOLLOUT, _READ | select.EPOLLOUT)
    _END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    _ONCE_EACH = _READ | select.EPOLLET  # what is left unread is not reported again and again


class EpollReadiness:
    """For Linux.

    A descriptor that is no longer wanted is usually wanted again at once, by the next request on its connection. So it
    stays registered, which saves a system call for each request and shows what comes on an idle connection. Later its
    number may mean another socket. That is safe: `watch` always asks the kernel, and registers what the kernel does not
    know.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wanted: dict[int, int] = {}  # _IDLE: registered, but not wanted; _TOLD: and something came on it

    def watch(self, descriptor: int, wanted: int) -> None:
        if descriptor in self._wanted:
            try:
                self._epoll.modify(descriptor, _EVENTS[wanted])
            except FileNotFoundError:  # it was closed, and this is another one of the same number
                self._epoll.register(descriptor, _EVENTS[wanted])
        else:
            self._epoll.register(descriptor, _EVENTS[wanted])
        self._wanted[descriptor] = wanted

    def unwatch(self, descriptor: int) -> None:
        wanted = self._wanted.get(descriptor, _IDLE)
        if wanted == WRITABLE:  # the answer came while it was sending
            with suppress(OSError):
                self._epoll.modify(descriptor, _READ)
        if wanted > 0:
            self._wanted[descriptor] = _IDLE

    def forget(self, descriptor: int) -> int:
        wanted = self._wanted.pop(descriptor, None)
        if wanted is None:
            return 0
        with suppress(OSError):
            self._epoll.unregister(descriptor)
        return max(wanted, 0)

    def ready(self, seconds: float) -> list[tuple[int, int]]:
        found = []
        # Rounded up to whole milliseconds, or curl would be called again and again shortly before its time.
        for descriptor, events in self._epoll.poll(ceil(seconds * 1000) / 1000 if seconds > 0 else 0):
            wanted = self._wanted.get(descriptor, _IDLE)
            if wanted > 0:
                odd = events & (select.EPOLLERR | select.EPOLLHUP)
                found.append((descriptor, READABLE | WRITABLE if odd else (events & 1) | (events >> 1 & 2)))
            elif events & _END:
                self.forget(descriptor)
                found.append((descriptor, IDLE_END))
            else:
                if wanted == _IDLE:
                    self._epoll.modify(descriptor, _ONCE_EACH)
                    self._wanted[descriptor] = _TOLD
                if events & select.EPOLLIN:
                    found.append((descriptor, IDLE_INPUT))
        return found

    def close(self) -> None:
        self._epoll.close()


class SelectorReadiness:
    """For systems without epoll, by the best selector of the standard library."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector = selector or selectors.DefaultSelector()

    def watch(self, descriptor: int, wanted: int) -> None:
        self.unwatch(descriptor)
        self._selector.register(descriptor, wanted)  # EVENT_READ and EVENT_WRITE are 1 and 2, too

    def unwatch(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def forget(self, descriptor: int) -> int:
        watched = self._selector.get_map().get(descriptor)
        self.unwatch(descriptor)
        return watched.events if watched is not None else 0

    def ready(self, seconds: float) -> list[tuple[int, int]]:
        return [(key.fd, events) for key, events in self._selector.select(max(seconds, 0))]

    def close(self) -> None:
        self._selector.close()


def new_readiness() -> Readiness:
    """The best that this system has."""
    return EpollReadiness() if hasattr(select, "epoll") else SelectorReadiness()
