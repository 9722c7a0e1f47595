"""The transport on libcurl's multi interface: one event loop, no threads except those of the DNS lookups and one
that ends endless reads."""

import logging
import socket
from collections import deque
from collections.abc import Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from time import monotonic

import pycurl

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.address_slots import UNBOUNDED, AddressSlots
from dispatcher.transport.checks import check_request, split_url
from dispatcher.transport.curl.connections import KeptConnections
from dispatcher.transport.curl.dns_cache import Names, Resolved
from dispatcher.transport.curl.handles import HandleOptions
from dispatcher.transport.curl.long_reads import LongReads
from dispatcher.transport.curl.poller import IDLE_END, READABLE, new_readiness
from dispatcher.transport.curl.raw_bytes import Look, RawBytes
from dispatcher.transport.curl.transfers import Transfer
from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Request
from dispatcher.transport.failure_texts import ADDRESS_FULL, unexpected
from dispatcher.transport.guard import Guard
from dispatcher.transport.port import ANSWER_CAP, REST_SECONDS, TlsVersion
from dispatcher.transport.resolver import DnsLookups, Resolve, system_resolver
from dispatcher.transport.trust import trusted_authorities

_log = logging.getLogger("dispatcher.transport.curl")
_DEADLINES_EVERY = 0.05  # seconds
_STALLS = 3  # calls of curl that read nothing: what it has to do is for another connection
_STANDSTILL = 0.1  # seconds between two waits in which the owner did something else
_MOST_ADDED = 30.0  # seconds that standstills add to a deadline, in total: claims do not wait for ever


class CurlTransport:
    """Sends up to `capacity` requests at once from the thread that owns it. See `dispatcher.transport.Transport`.

    No request waits inside curl, where its time would run: each is sent at once, and only the capacity and the slots of
    its address limit the connections. `addresses` is what the egress policy lets through, `ca_bundle` a file of
    certificates to trust instead of the system's; `resolve` replaces `system_resolver`. At most `per_address`
    requests are in flight to one address. At most `idle_limit` kept-alive connections wait, at most `idle_age` seconds
    each.
    """

    def __init__(
        self,
        *,
        capacity: int = 1000,
        per_address: int = UNBOUNDED,
        addresses: AddressPolicy,
        ca_bundle: Path | None = None,
        tls_minimum: TlsVersion = "1.2",
        resolve: Resolve | None = None,
        idle_limit: int = 300,
        idle_age: float = 30.0,
    ) -> None:
        self._capacity, self._idle_limit = capacity, idle_limit
        self._guard = Guard(addresses)
        self._slots = AddressSlots(per_address)
        self._found: deque[tuple[str, str]] = deque(maxlen=2 * capacity)
        self._kept = KeptConnections()
        self._raw = RawBytes()
        self._long_reads = LongReads()
        self._resting: dict[int, int] = {}  # descriptors that are not watched for the moment, and what for
        self._rests: deque[tuple[float, int]] = deque()  # when they end, monotonic
        trusted = trusted_authorities(ca_bundle)
        self._options = HandleOptions(trusted, tls_minimum, idle_age, self._guard, self._kept, self._long_reads)
        self._ended: list[Exchange] = []
        self._active: dict[pycurl.Curl, Transfer] = {}
        self._idle: dict[tuple[str, bool], list[Transfer]] = {}
        self._in_flight = 0
        self._closed = False
        self._watched: Set[int] = frozenset()  # the owner's descriptors
        self._seen = False  # one of them can be read
        self._readiness = new_readiness()
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._readiness.watch(self._awake.fileno(), READABLE)
        self._names = Names(DnsLookups(resolve or system_resolver(addresses)), self._guard.refuse_address, self._wake)
        self._curl_at = inf  # when curl wants to be called, monotonic
        self._deadlines_at = 0.0  # when deadlines are looked at again
        self._waited_at = monotonic()  # when the last wait ended
        self._multi = self._new_multi()

    @property
    def capacity(self) -> int:
        """How many requests may be in flight."""
        return self._capacity

    def send(self, request: Request) -> None:
        """Starts a request, or the DNS lookup of its name; the next `wait` sends it."""
        if self._closed or self._in_flight >= self._capacity:
            raise RuntimeError("the transport is closed" if self._closed else "more in flight than the capacity")
        check_request(request)
        refusal = self._guard.refuse_request(request)
        _, host, port = split_url(request.url).origin
        now = monotonic()
        resolved = self._names.known((host, port), now, anew=request.anew) if refusal is None else None
        if refusal is not None:
            self._end_unsent(request, refusal, now, now)
        elif resolved is None:
            self._names.ask(request, (host, port), now)
        else:
            self._start(request, resolved, now, now)
        self._in_flight += 1

    def wait(self, timeout: float) -> list[Exchange]:
        """What has ended, waiting up to `timeout` seconds for the first."""
        if self._closed:
            return []
        now = monotonic()
        until = now + max(timeout, 0)
        if now - self._waited_at > _STANDSTILL:
            # Answers may have come that were not read yet: that time must not count against the receivers.
            for transfer in self._active.values():
                later = transfer.deadline + now - max(self._waited_at, transfer.begun_at)
                transfer.deadline = min(later, transfer.begun_at + transfer.request.timeout + _MOST_ADDED)
        self._seen = False
        self._step(until)
        while not self._ended and not self._seen and monotonic() < until:
            self._step(until)
        ended, self._ended = self._ended, []
        self._in_flight -= len(ended)
        self._waited_at = monotonic()
        return ended

    def watch(self, descriptors: Set[int]) -> None:
        """Has `wait` end as well when one of these can be read."""
        if self._closed:
            return
        for descriptor in self._watched - descriptors:
            self._readiness.forget(descriptor)
        for descriptor in descriptors:  # each time: it may be another one of the same number
            self._readiness.watch(descriptor, READABLE)
        self._watched = frozenset(descriptors)

    def addresses(self) -> list[tuple[str, str]]:
        """Which address the host of a request led to, since the last call."""
        found = list(self._found)
        self._found.clear()
        return found

    def limit_addresses(self, most: int) -> None:
        """At most so many requests to one address from now on."""
        self._slots.most = most

    def shrink(self) -> None:
        """Frees the handles that no request has, with their buffers: connections belong to the multi handle."""
        for transfer in [transfer for idle in self._idle.values() for transfer in idle]:
            transfer.handle.close()
        self._idle.clear()

    def close(self) -> None:
        """Closes all connections; what is in flight is abandoned."""
        if self._closed:
            return
        self._closed = True
        self._long_reads.close()
        self._drop_multi()
        self.shrink()
        self._readiness.close()
        self._awake.close()
        self._waker.close()

    # ---- one turn of the event loop

    def _step(self, until: float) -> None:
        """Waits for something to happen, until `until` (monotonic) at most, and handles it."""
        until = 0 if self._ended else min(until, self._curl_at, self._names.deadline)
        if self._active:
            until = min(until, self._deadlines_at)
        if self._rests:
            until = min(until, self._rests[0][0])
        try:
            self._bound_connections()
            self._use(self._readiness.ready(until - monotonic()))
            if self._curl_at <= monotonic():
                self._curl_at = inf
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect()
            self._end_late()
            self._end_rests()
        except pycurl.error as error:  # the multi handle itself failed, which cannot be repaired
            self._start_anew(error)
        now = monotonic()
        for waiting, found in self._names.ended(now):
            begun_at = now if waiting.begun_at is None else waiting.begun_at
            if isinstance(found, Failure):
                leads_somewhere = found.kind is FailureKind.ADDRESS_REFUSED
                self._end_unsent(waiting.request, found, begun_at, now, looked_up=leads_somewhere)
            else:
                self._start(waiting.request, found, begun_at, now)

    def _use(self, found: list[tuple[int, int]]) -> None:
        """Hands descriptors that are ready to whom they concern."""
        for descriptor, ready in found:
            if descriptor == self._awake.fileno():
                with suppress(BlockingIOError):
                    self._awake.recv(4096)
            elif descriptor in self._watched:
                self._seen = True
            elif ready > 0:
                self._act(descriptor, ready)
            else:
                self._kept.look(descriptor, monotonic(), ended=ready == IDLE_END)

    def _act(self, descriptor: int, ready: int) -> None:
        """Has curl use a connection, and read on for as long as there is more than it reads at once. Otherwise it would
        read on whenever it is called for another one: a busy worker does that many times before it looks again at what
        one receiver has sent."""
        came, stalls = -inf, 0
        while stalls < _STALLS:
            leaves_some = self._call(descriptor, ready)
            if not leaves_some and not ready & READABLE:
                return
            look = self._raw.read(descriptor, leaves_some=leaves_some)
            if look is None or self._bound(descriptor, look) or not leaves_some:
                return
            stalls = stalls + 1 if look.came <= came else 0
            came = look.came

    def _call(self, descriptor: int, ready: int) -> bool:
        """Calls curl for a connection. Returns whether it stopped before it had read everything: it wants to be called
        again at once."""
        due, self._curl_at = self._curl_at, inf
        self._long_reads.begin(descriptor)
        try:
            self._multi.socket_action(descriptor, ready)
        finally:
            self._long_reads.end()
        leaves_some = self._curl_at <= monotonic()
        self._curl_at = min(due, self._curl_at)
        return leaves_some

    def _start(self, request: Request, resolved: Resolved, begun_at: float, now: float) -> None:
        self._found.append((request.id, resolved.address))
        if not self._slots.take(resolved.address, request.account):
            self._end_unsent(request, ADDRESS_FULL, begun_at, now)
            return
        pool = request.method, request.body is not None
        idle = self._idle.get(pool)
        try:
            transfer = idle.pop() if idle else Transfer(*pool, self._options)
            transfer.begin(request, resolved, begun_at, now)
            self._multi.add_handle(transfer.handle)
        except Exception as surprise:  # noqa: BLE001 - every request is returned
            self._slots.end(resolved.address, request.account)
            self._end_unsent(request, _unexpected(request, surprise), begun_at, now)
        else:
            self._active[transfer.handle] = transfer
            self._long_reads.start()

    def _collect(self) -> None:
        """Collects the transfers that curl has ended."""
        if not self._active:
            return
        _, done, failed = self._multi.info_read()
        now = monotonic()
        for handle in done:
            self._end(handle, 0, "", now)
        for handle, code, message in failed:
            self._end(handle, code, message, now)

    def _end_late(self) -> None:
        """Ends transfers that are past their deadline."""
        now = monotonic()
        if now < self._deadlines_at:
            return
        self._deadlines_at = now + _DEADLINES_EVERY
        for handle in [handle for handle, transfer in self._active.items() if transfer.deadline <= now]:
            self._end(handle, pycurl.E_OPERATION_TIMEDOUT, "", now)

    def _bound(self, descriptor: int, look: Look) -> bool:
        """Cuts a connection on which more came than the answers that are awaited on it may have, and reads one less
        often that always has a little. Returns whether it was cut."""
        if look.came > ANSWER_CAP:
            awaited = [handle for handle, transfer in self._active.items() if transfer.ends == look.ends]
            if look.came <= ANSWER_CAP * len(awaited):
                return False
            self._collect()  # what has just ended was awaited while this came, and is not cut
            self._kept.cut(descriptor)
            for handle in awaited:
                if handle in self._active:
                    self._active[handle].cut()
                    self._end(handle, pycurl.E_RECV_ERROR, "", monotonic())
            return True
        if look.is_hasty and (wanted := self._readiness.forget(descriptor)):
            self._resting[descriptor] = wanted
            self._rests.append((monotonic() + REST_SECONDS, descriptor))
        return False

    def _drop_rest(self, transfer: Transfer) -> None:
        """Over HTTP/2 the rest of a cut body comes all the same. So that it does not count as the next one's answer,
        the connection is not used again, unless others have their answers on it just now."""
        is_alone = transfer.leaves_rest and all(other.ends != transfer.ends for other in self._active.values())
        if is_alone and (descriptor := transfer.handle.getinfo(pycurl.ACTIVESOCKET)) >= 0:
            self._kept.cut(descriptor)

    def _end_rests(self) -> None:
        now = monotonic()
        while self._rests and self._rests[0][0] <= now:
            _, descriptor = self._rests.popleft()
            if wanted := self._resting.pop(descriptor, 0):
                self._readiness.watch(descriptor, wanted)

    def _end(self, handle: pycurl.Curl, code: int, message: str, now: float) -> None:
        transfer = self._active.pop(handle)
        if code and transfer.may_be_sent_again():
            self._multi.remove_handle(handle)
            self._multi.add_handle(handle)
            self._active[handle] = transfer
            return
        self._slots.end(transfer.address, transfer.request.account)
        self._raw.answered(transfer.ends)
        self._drop_rest(transfer)
        try:
            self._ended.append(transfer.end(code, message, now))
        except Exception as surprise:  # noqa: BLE001 - every request is returned
            failure = _unexpected(transfer.request, surprise)
            self._end_unsent(transfer.request, failure, transfer.begun_at, now)
        self._multi.remove_handle(handle)
        self._idle.setdefault(transfer.pool, []).append(transfer)  # at most as many as were in flight together

    def _end_unsent(
        self, request: Request, failure: Failure, begun_at: float, now: float, *, looked_up: bool = False
    ) -> None:
        duration = timedelta(seconds=now - begun_at)
        self._ended.append(Exchange(request, failure, datetime.now(UTC) - duration, duration, looked_up))

    # ---- curl's multi handle

    def _new_multi(self) -> pycurl.CurlMulti:
        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._most_connections = 0
        return multi

    def _drop_multi(self) -> list[Transfer]:
        """Closes the multi handle with its connections; returns what was in flight."""
        cut = list(self._active.values())
        self._active.clear()
        for transfer in cut:
            with suppress(pycurl.error):
                self._multi.remove_handle(transfer.handle)
            transfer.handle.close()
        self._multi.close()
        return cut

    def _start_anew(self, error: pycurl.error) -> None:
        """Ends everything in flight as failed, because it is unknown what curl still does for it."""
        _log.error("curl failed (%s): %d requests are given up", error.args[0], len(self._active))
        now = monotonic()
        for transfer in self._drop_multi():
            self._slots.end(transfer.address, transfer.request.account)
            self._end_unsent(transfer.request, _unexpected(transfer.request, error), transfer.begun_at, now)
        self._curl_at = inf
        self._multi = self._new_multi()

    def _bound_connections(self) -> None:
        """Keeps the idle connections within their limit. Curl's own limit counts the busy ones, too: left alone, it
        would close good connections of a busy transport."""
        most = max(1, len(self._active) - 1 + self._idle_limit)
        if abs(most - self._most_connections) * 16 > self._idle_limit:
            self._most_connections = most
            self._multi.setopt(pycurl.M_MAXCONNECTS, most)

    # ---- called by curl, which must not see an exception, or by threads of DNS lookups

    def _watch(self, wanted: int, descriptor: int, _multi: object, _data: object) -> None:
        try:
            if wanted == pycurl.POLL_REMOVE:
                self._raw.idle(descriptor)
                self._resting.pop(descriptor, None)
                self._readiness.unwatch(descriptor)
            elif descriptor in self._resting:
                self._resting[descriptor] = wanted
            else:
                self._readiness.watch(descriptor, wanted)
        except Exception as surprise:  # noqa: BLE001 - that one request ends at its deadline
            _log.error("a connection cannot be watched: %s", type(surprise).__name__)

    def _set_timer(self, milliseconds: int) -> None:
        self._curl_at = monotonic() + milliseconds / 1000 if milliseconds >= 0 else inf

    def _wake(self) -> None:
        with suppress(OSError):  # full: awake already; closed: no one waits any more
            self._waker.send(b"\0")


def _unexpected(request: Request, surprise: Exception) -> Failure:
    _log.error("request %s ended in an unexpected %s", request.id, type(surprise).__name__)
    return unexpected(surprise)
