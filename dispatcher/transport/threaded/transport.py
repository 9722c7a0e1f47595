"""The transport on `requests`: sender threads, each with one request at a time."""

import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from requests.structures import CaseInsensitiveDict

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.address_slots import UNBOUNDED
from dispatcher.transport.checks import check_request
from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply, Request
from dispatcher.transport.failure_texts import TOO_LATE, unexpected
from dispatcher.transport.guard import Guard
from dispatcher.transport.port import TlsVersion
from dispatcher.transport.resolver import DnsLookups, Resolve, system_resolver
from dispatcher.transport.threaded.adapter import AccountRequest, DirectAdapter
from dispatcher.transport.threaded.faults import NoAnswer
from dispatcher.transport.threaded.opening import Connector, Opener

_log = logging.getLogger("dispatcher.transport.requests")
_CLOSING_TIME = 1.0  # seconds that `close` waits for the threads; what hangs longer is in a connect or a DNS lookup


class RequestsTransport:
    """Sends on up to `capacity` threads, started as they are needed. See `dispatcher.transport.Transport`.

    `addresses` is what the egress policy lets through, `ca_bundle` a file of certificates to trust instead of the
    system's; `resolve` replaces `system_resolver`. At most `per_address` requests are in flight to one address. At
    most `idle_limit` kept-alive connections wait, at most `idle_age` seconds each.
    """

    def __init__(
        self,
        *,
        capacity: int = 32,
        per_address: int = UNBOUNDED,
        addresses: AddressPolicy,
        ca_bundle: Path | None = None,
        tls_minimum: TlsVersion = "1.2",
        resolve: Resolve | None = None,
        idle_limit: int = 300,
        idle_age: float = 30.0,
    ) -> None:
        self._capacity = capacity
        self._guard = Guard(addresses)
        connector = Connector(DnsLookups(resolve or system_resolver(addresses)), self._guard)
        opener = Opener(connector, ca_bundle=ca_bundle, tls_minimum=tls_minimum)
        self._adapter = DirectAdapter(opener, per_address=per_address, idle_limit=idle_limit, idle_age=idle_age)
        self._selector = selectors.DefaultSelector()
        self._awake, self._waker = socket.socketpair()  # a byte for each exchange that has ended
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._watched: Set[int] = frozenset()  # the owner's descriptors
        self._todo: SimpleQueue[tuple[Request, float] | None] = SimpleQueue()  # and until when it may begin, monotonic
        self._ended: SimpleQueue[Exchange] = SimpleQueue()
        self._found: deque[tuple[str, str]] = deque(maxlen=2 * capacity)
        self._threads: list[threading.Thread] = []
        self._in_flight = 0
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many requests may be in flight; the number of threads at most."""
        return self._capacity

    def send(self, request: Request) -> None:
        """Hands a request to a sender thread."""
        if self._closed or self._in_flight >= self._capacity:
            raise RuntimeError("the transport is closed" if self._closed else "more in flight than the capacity")
        check_request(request)
        failure = self._guard.refuse_request(request)
        if failure is None and len(self._threads) <= self._in_flight:
            self._start_thread()
        self._in_flight += 1
        if failure is None and not self._threads:
            failure = Failure(FailureKind.NOT_SENT, "the system gives this worker no thread to send with")
        if failure is None:
            self._todo.put((request, monotonic() + request.connect_timeout))
        else:
            self._end(Exchange(request, failure, datetime.now(UTC), timedelta(0)))

    def wait(self, timeout: float) -> list[Exchange]:
        """What has ended, waiting up to `timeout` seconds for the first."""
        ended: list[Exchange] = []
        until = monotonic() + max(timeout, 0)
        seen = self._closed
        while True:
            with suppress(Empty):
                while True:
                    ended.append(self._ended.get_nowait())
            left = until - monotonic()
            if ended or seen or left < 0:
                break
            for key, _ in self._selector.select(left):
                seen |= key.fd in self._watched
            with suppress(BlockingIOError):
                self._awake.recv(4096)
        self._in_flight -= len(ended)
        return ended

    def watch(self, descriptors: Set[int]) -> None:
        """Has `wait` end as well when one of these can be read."""
        if self._closed:
            return
        for descriptor in self._watched:
            self._selector.unregister(descriptor)
        for descriptor in descriptors:  # each time: it may be another one of the same number
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._watched = frozenset(descriptors)

    def addresses(self) -> list[tuple[str, str]]:
        """Which address the host of a request led to, since the last call."""
        return [self._found.popleft() for _ in range(len(self._found))]

    def limit_addresses(self, most: int) -> None:
        """At most so many requests to one address from now on."""
        self._adapter.slots.most = most

    def shrink(self) -> None:
        """Does nothing: what a thread keeps is one connection for each receiver."""

    def close(self) -> None:
        """Cuts all connections and ends the threads."""
        if self._closed:
            return
        self._closed = True
        for _ in self._threads:
            self._todo.put(None)
        self._adapter.close()
        until = monotonic() + _CLOSING_TIME
        for thread in self._threads:
            thread.join(max(until - monotonic(), 0))
        self._selector.close()
        self._awake.close()
        self._waker.close()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"sender-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: the existing ones go on
            _log.warning("the system gives no more than %d threads to send with", len(self._threads))
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (todo := self._todo.get()) is not None and not self._closed:
            request, begins_until = todo
            started_at, deadlines = datetime.now(UTC), Deadlines(request.connect_timeout, request.timeout)
            sent = AccountRequest()
            in_time = deadlines.began < begins_until
            outcome = self._outcome(request, sent, deadlines) if in_time else TOO_LATE
            duration = timedelta(seconds=monotonic() - deadlines.began)
            self._end(Exchange(request, outcome, started_at, duration, sent.looked_up, sent.connected))

    def _end(self, exchange: Exchange) -> None:
        self._ended.put(exchange)
        with suppress(OSError):  # full: awake already; closed: no one waits any more
            self._waker.send(b"\0")

    def _outcome(self, request: Request, sent: AccountRequest, deadlines: Deadlines) -> Reply | Failure:
        try:
            _prepare(sent, request, self._found)
            response = self._adapter.send(sent, timeout=deadlines)
        except NoAnswer as fault:
            return fault.failure
        except Exception as surprise:  # noqa: BLE001 - every request is returned; its text could contain secrets
            _log.error("request %s ended in an unexpected %s", request.id, type(surprise).__name__)
            return unexpected(surprise)
        return Reply(
            response.status_code, response.pairs, response.content, response.body_cut, response.body_unreadable
        )


def _prepare(prepared: AccountRequest, request: Request, found: deque[tuple[str, str]]) -> None:
    """Makes it a request of `requests`, filled by hand: preparing would parse, encode and re-order what is final."""
    prepared.account, prepared.anew = request.account, request.anew
    prepared.found = lambda address: found.append((request.id, address))
    prepared.method, prepared.url, prepared.body = request.method, request.url, request.body
    prepared.headers = CaseInsensitiveDict(request.headers)
