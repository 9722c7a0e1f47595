"""Looks up names within a deadline, which the system's resolver does not support."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.exchange import Failure, FailureKind

Resolve = Callable[..., Any]  # as `socket.getaddrinfo`

# Family and address, ready for `socket.socket` and `connect`.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]

_AT_ONCE = 64


class NoTurn(Exception):
    """Too many names are looked up at once: the lookup of this one was not even started."""


class DnsLookups:
    """Resolves names in daemon threads of its own, because `getaddrinfo` cannot be interrupted.

    A caller gives up at its deadline; the thread ends when the resolver does (glibc: 5 s per server and try). The same
    name is looked up once at a time, however many wait for it; at most `at_once` names are looked up at once.
    """

    def __init__(self, at_once: int = _AT_ONCE, resolve: Resolve = socket.getaddrinfo) -> None:
        self.at_once = at_once
        self._resolve = resolve
        self._slots = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Future[list[Address]]] = {}

    def addresses(self, host: str, port: int, deadlines: Deadlines) -> list[Address]:
        """The addresses of a host, in the order to try them; a literal address needs no lookup.

        The wait for a turn, at most until `deadlines.connect`, moves the deadlines, so the lookup has its full time.
        Raises NoTurn, TimeoutError, or socket.gaierror or UnicodeError when the name cannot be resolved.
        """
        if literal := literal_addresses(host, port):
            return literal
        asked_at = monotonic()
        future = self.lookup(host, port, max(deadlines.connect - asked_at, 0))
        if future is None:
            raise NoTurn
        deadlines.put_off(monotonic() - asked_at)
        return future.result(max(deadlines.connect - monotonic(), 0))

    def lookup(self, host: str, port: int, wait: float = 0) -> "Future[list[Address]] | None":
        """The DNS lookup of a name, started now or before; None if no thread was free for it within `wait` seconds.

        Its slot is free again when the future is done.
        """
        key = (host, port)
        with self._lock:
            if key in self._running:
                return self._running[key]
        if not self._slots.acquire(timeout=wait):
            return None
        with self._lock:
            if key in self._running:  # another thread was faster
                self._slots.release()
                return self._running[key]
            future = self._running[key] = Future()
        try:
            threading.Thread(target=self._run, args=(key, future), name="DNS lookup", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads: callers must not wait for ever
            self._end(key)
            future.set_exception(error)
        return future

    def _run(self, key: tuple[str, int], future: "Future[list[Address]]") -> None:
        try:
            result = _addresses(self._resolve(*key, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._end(key)
            future.set_exception(error)
        else:
            self._end(key)
            future.set_result(result)

    def _end(self, key: tuple[str, int]) -> None:
        with self._lock:
            del self._running[key]
        self._slots.release()


def literal_addresses(host: str, port: int) -> list[Address]:
    """The addresses of a host that is a literal address; empty for a name."""
    try:
        return _addresses(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except (socket.gaierror, UnicodeError):
        return []


def not_resolved(error: BaseException) -> Failure:
    """The failure for a DNS lookup that raised."""
    match error:
        case TimeoutError():
            why = "in the time to connect"
        case OSError():  # a resolver error of the system can come as a plain one
            why = f"({error.errno})"
        case UnicodeError():
            why = "(not a host name)"
        case _:
            why = f"(unexpected {type(error).__name__})"
    return Failure(FailureKind.DNS, f"name not resolved {why}")


def _addresses(found: list[Any]) -> list[Address]:
    # A link-local address has a scope as its fourth part; no receiver has one, and curl's option cannot express it.
    return [(family, address) for family, _, _, _, address in found if not any(address[3:])]
