"""Looks up names within a deadline, which the system's resolver does not support."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from dispatcher.accounts.fair_turns import FairTurns, Turn
from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.exchange import Failure, FailureKind
from dispatcher.transport.port import DNS_LOOKUPS

Resolve = Callable[..., Any]  # as `socket.getaddrinfo`

# Family and address, ready for `socket.socket` and `connect`.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]

Name = tuple[str, int]  # host and port

_MOST_ADDRESSES = 8  # of a name: each may be tried for one request


class NoTurn(Exception):
    """Too many names are looked up at once: the lookup of this one was not even started."""


class _Waiter:
    """A thread that waits to look a name up. Each is woken alone: hundreds can wait."""

    def __init__(self) -> None:
        self.may_begin = threading.Event()


class DnsLookups:
    """Resolves names in daemon threads of its own, because `getaddrinfo` cannot be interrupted.

    A caller gives up at its deadline; the thread ends when the resolver does (glibc: 5 s per server and try). The same
    name is looked up once at a time, however many wait for it. At most `at_once` names are looked up at once, and
    accounts take turns: `addresses` sees to that, and the callers of `lookup` themselves.
    """

    def __init__(self, resolve: Resolve, at_once: int = DNS_LOOKUPS) -> None:
        self.at_once = at_once
        self._resolve = resolve
        self._turns: FairTurns[_Waiter] = FairTurns(at_once)
        self._lock = threading.RLock()
        self._running: dict[Name, Future[list[Address]]] = {}

    def addresses(self, host: str, port: int, account: str, deadlines: Deadlines) -> list[Address]:
        """The addresses of a host, in the order to try them; a literal address needs no lookup.

        The wait for a turn, at most until `deadlines.connect`, moves the deadlines, so the lookup has its full time.
        Raises NoTurn, TimeoutError, or socket.gaierror or UnicodeError when the name cannot be resolved.
        """
        if literal := literal_addresses(host, port):
            return literal
        asked_at = monotonic()
        future = self._lookup_in_turn((host, port), account, until=deadlines.connect)
        deadlines.put_off(monotonic() - asked_at)
        return future.result(max(deadlines.connect - monotonic(), 0))

    def lookup(self, name: Name) -> "Future[list[Address]]":
        """The DNS lookup of a name, started now or before."""
        with self._lock:
            return self._running.get(name) or self._start(name, None)

    def _lookup_in_turn(self, name: Name, account: str, *, until: float) -> "Future[list[Address]]":
        waiter, turn = _Waiter(), Turn(account)
        with self._lock:
            if name in self._running:
                return self._running[name]
            self._turns.wait(turn, waiter)
            self._give_turns()
        waiter.may_begin.wait(max(until - monotonic(), 0))
        with self._lock:
            self._turns.leave(turn, waiter)
            if waiter.may_begin.is_set() and name not in self._running:
                return self._start(name, turn)
            if waiter.may_begin.is_set():
                self._end_turn(turn)
            if name not in self._running:
                raise NoTurn
            return self._running[name]  # another thread was faster

    def _give_turns(self) -> None:
        while (given := self._turns.take()) is not None:
            given[1].may_begin.set()

    def _end_turn(self, turn: Turn | None) -> None:
        if turn is not None:
            self._turns.end(turn)
            self._give_turns()

    def _start(self, name: Name, turn: Turn | None) -> "Future[list[Address]]":
        future = self._running[name] = Future()
        try:
            threading.Thread(target=self._run, args=(name, turn, future), name="DNS lookup", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads: callers must not wait for ever
            self._end(name, turn)
            future.set_exception(error)
        return future

    def _run(self, name: Name, turn: Turn | None, future: "Future[list[Address]]") -> None:
        try:
            result = _addresses(self._resolve(*name, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._end(name, turn)
            future.set_exception(error)
        else:
            self._end(name, turn)
            future.set_result(result)

    def _end(self, name: Name, turn: Turn | None) -> None:
        with self._lock:
            del self._running[name]
            self._end_turn(turn)


def system_resolver(policy: AddressPolicy) -> Resolve:
    """`socket.getaddrinfo`, asked for names in the form that the policy says."""

    def resolve(host: str, port: int, **options: Any) -> Any:
        return socket.getaddrinfo(policy.looked_up_as(host), port, **options)

    return resolve


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
    usable = [(family, address) for family, _, _, _, address in found if not any(address[3:])]
    return usable[:_MOST_ADDRESSES]
