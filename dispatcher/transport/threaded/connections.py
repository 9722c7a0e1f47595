"""Connections to receivers: read and written within a deadline, then kept alive for the next request."""

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from time import monotonic, sleep

from dispatcher.transport.checks import Origin
from dispatcher.transport.early_closers import EARLY, EarlyClosers
from dispatcher.transport.failure_texts import OVER_BUDGET, TLS_OVER_BUDGET
from dispatcher.transport.port import ANSWER_CAP, HASTY_READS, REST_SECONDS, TLS_CAP
from dispatcher.transport.threaded.encryption import Encryption
from dispatcher.transport.threaded.faults import NoAnswer

_READ_SIZE = 16 * 1024
_WRITE_SIZE = 64 * 1024


class Connection:
    """A connected socket with what was read ahead from it. It serves as the file of an `http.client.HTTPResponse`.

    Each read and write gets only the time that is left until `deadline` (monotonic), so that slowly dripping bytes do
    not extend it; after it, TimeoutError is raised. `sent` and `received` count the bytes since `begin`. More than an
    answer may have is NoAnswer, and so is more of TLS than it needs. One that comes in many little pieces is read less
    often.
    """

    __slots__ = (
        "_ahead",
        "_came",
        "_encryption",
        "_events",
        "_poll",
        "_reads",
        "_socket",
        "address",
        "deadline",
        "kept_at",
        "origin",
        "received",
        "sent",
    )

    def __init__(self, connected: socket.socket, encryption: Encryption | None, origin: Origin, address: str) -> None:
        # Never blocking, with a poll of our own: a socket with a timeout needs three system calls for each use, and
        # each of them hands the interpreter to another thread, which cost a sixth of all CPU time.
        connected.setblocking(False)
        self._socket = connected
        self._poll = select.poll()
        self._events = 0
        self._encryption = encryption
        self._ahead = bytearray()
        self.origin = origin
        self.address = address  # the first of the host's that may be called, also where another answers
        self.deadline = 0.0
        self.sent = self.received = self._came = self._reads = 0
        self.kept_at = 0.0

    def begin(self, deadline: float) -> None:
        """Starts a new request: sets its deadline, and nothing is sent or received yet."""
        self.deadline = deadline
        self.sent = self.received = self._came = self._reads = 0
        self._take_in(b"")  # more than the handshake may have come with its end

    def write(self, data: bytes, is_refusal: Callable[[bytes], bool]) -> bool:
        """Sends all of it and returns True; returns False if it stopped because the receiver hung up or, by
        `is_refusal`, its answer so far makes the rest pointless. A receiver may answer without reading: only writing
        would wait for it until the deadline."""
        view = memoryview(data)
        with suppress(ConnectionError):
            pieces = (view[start : start + _WRITE_SIZE] for start in range(0, len(view), _WRITE_SIZE))
            return all(self._send(piece, is_refusal) for piece in pieces)
        return False

    def readline(self, limit: int) -> bytes:
        """Up to and including the next line feed; less at the end of the stream or at `limit` bytes."""
        searched = 0
        while (end := self._ahead.find(b"\n", searched, limit)) < 0:
            searched = len(self._ahead)
            if searched >= limit or not self._read_more():
                return self._taken(limit)
        return self._taken(end + 1)

    def read(self, size: int) -> bytes:
        """`size` bytes; less at the end of the stream only."""
        while len(self._ahead) < size and self._read_more():
            pass
        return self._taken(size)

    def flush(self) -> None:
        """Nothing to do; `http.client` asks for it."""

    def close(self) -> None:
        """`http.client` calls it when an answer has been read: the connection stays open. `hang_up` ends it."""

    def hang_up(self) -> None:
        self._socket.close()

    def cut(self) -> None:
        """Ends the connection from another thread: its reader finds it closed."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def is_quiet(self) -> bool:
        """Whether nothing unexpected has come: a connection that is readable while idle is closed or out of step."""
        return not self._ahead and not self._has_ended() and not self._ready(select.POLLIN, 0)

    def _await(self, events: int) -> int:
        """Waits until the socket can be read or written, and returns which; TimeoutError at the deadline."""
        left = self.deadline - monotonic()
        ready = self._ready(events, left) if left > 0 else 0
        if not ready:
            raise TimeoutError
        return ready

    def _ready(self, events: int, seconds: float) -> int:
        if events != self._events:
            self._poll.register(self._socket, events)
            self._events = events
        ready = self._poll.poll(ceil(seconds * 1000))
        return ready[0][1] if ready else 0

    def _send(self, piece: bytes | memoryview, is_refusal: Callable[[bytes], bool]) -> bool:
        # What TLS has to say while this goes out, in answer to what comes, waits in OpenSSL until this is out.
        wire = memoryview(piece if self._encryption is None else self._encryption.encrypted(piece))
        while wire:
            if monotonic() >= self.deadline:  # also where each part finds room
                raise TimeoutError
            try:
                count = self._socket.send(wire)
                wire = wire[count:]
                self.sent += count
            except BlockingIOError:
                says_something = self._await(select.POLLIN | select.POLLOUT) & ~select.POLLOUT
                if says_something and (self._receive() == 0 or is_refusal(bytes(self._ahead))):
                    return False
        return True

    def _read_more(self) -> bool:
        count = 0 if self._has_ended() else None
        while count is None:
            if self._reads > HASTY_READS:
                sleep(REST_SECONDS)
            if self._encryption is not None:
                self._send(b"", lambda _: False)  # what TLS itself has to say
            self._await(select.POLLIN)
            count = self._receive()
        return count > 0

    def _receive(self) -> int | None:
        """Reads ahead what is there and returns its size: 0 is the end of the stream, None: nothing is there yet."""
        try:
            raw = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return None
        self._came += len(raw)
        self._reads += 1
        size = self._take_in(raw)
        if self.received > ANSWER_CAP:
            raise NoAnswer(OVER_BUDGET)
        if self._came - self.received > TLS_CAP:
            raise NoAnswer(TLS_OVER_BUDGET)
        return size if size or not raw or self._has_ended() else None

    def _take_in(self, raw: bytes) -> int:
        data = raw if self._encryption is None else self._encryption.decrypted(raw)
        self._ahead += data
        self.received += len(data)
        return len(data)

    def _has_ended(self) -> bool:
        """Whether the receiver has ended TLS, which no poll shows."""
        return self._encryption is not None and self._encryption.ended

    def _taken(self, size: int) -> bytes:
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data


class IdleConnections:
    """Connections that wait for a next request, shared by all threads; the one used last is taken first.

    At most `limit` of them, none older than `age` seconds: the ones unused for longest are closed.
    """

    def __init__(self, limit: int, age: float) -> None:
        self._limit, self._age = limit, age
        self._lock = threading.Lock()
        self._closed = False
        self._closers = EarlyClosers()
        # Dicts as ordered sets: the oldest comes first, the newest last.
        self._by_age: dict[Connection, None] = {}
        self._by_origin: dict[Origin, dict[Connection, None]] = {}

    def take(self, origin: Origin) -> Connection | None:
        """A living connection to the origin, or None."""
        while True:
            now = monotonic()
            with self._lock:
                waiting = self._by_origin.get(origin)
                if not waiting or self._closers.has(origin, now):
                    return None
                connection = next(reversed(waiting))
                self._forget(connection)
            idle = now - connection.kept_at
            if idle < self._age and connection.is_quiet():
                return connection
            connection.hang_up()
            if idle < EARLY:
                self.lost(origin)

    def keep(self, connection: Connection) -> None:
        """Takes a connection whose answer was read to its end."""
        now = connection.kept_at = monotonic()
        with self._lock:
            if self._closers.has(connection.origin, now):
                connection.hang_up()
                return
            self._by_age[connection] = None
            self._by_origin.setdefault(connection.origin, {})[connection] = None
            surplus = []
            while self._by_age and self._is_surplus(oldest := next(iter(self._by_age)), now):
                self._forget(oldest)
                surplus.append(oldest)
        for old in surplus:
            old.hang_up()

    def lost(self, origin: Origin) -> None:
        """A connection to it ended without an answer, though it was used before, or soon after an answer."""
        with self._lock:
            self._closers.add(origin, monotonic())

    def close(self) -> None:
        """Closes all idle connections, and from now on every connection that comes."""
        with self._lock:
            self._closed = True
            idle = list(self._by_age)
            self._by_age.clear()
            self._by_origin.clear()
        for connection in idle:
            connection.hang_up()

    def _is_surplus(self, oldest: Connection, now: float) -> bool:
        return self._closed or len(self._by_age) > self._limit or now - oldest.kept_at > self._age

    def _forget(self, connection: Connection) -> None:
        del self._by_age[connection]
        waiting = self._by_origin[connection.origin]
        del waiting[connection]
        if not waiting:
            del self._by_origin[connection.origin]
