"""Ends a read that goes on and on. OpenSSL takes one message of TLS after the other, session tickets say, before it
gives anything back, and takes much longer for one than its sender. Meanwhile nobody else has a turn, and no deadline is
looked at. Nothing but the end of the connection ends it, so a thread looks for it and closes it for reading.

A first read of an address may take long: to load the certificates of the trusted authorities takes its time. Where one
went on, the next ones may not, and the kernel keeps little for them, which is read even after the connection is closed:
or a few receivers that do it again and again would have most of the time.
"""

import os
import socket
import time
from contextlib import suppress
from threading import Event, Lock, Thread, get_ident

MOST_CPU = 0.2  # seconds that curl may compute on one connection before others have a turn
_LOOKS_EVERY = 0.1  # seconds
KNOWN_CPU, _LOOKS_OFTEN = 0.003, 0.003
_BUFFER, _KNOWN_BUFFER = 64 * 1024, 4 * 1024  # bytes, of which the kernel takes twice
_REMEMBERED, _MOST_REMEMBERED = 600.0, 10_000  # seconds, and addresses


class LongReads:
    """Knows which connection curl works on. It goes by the CPU time of the thread that owns the transport: a machine
    that is busy or stands still is nobody's fault."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._turn = 0
        self._lock = Lock()  # so that a descriptor is not closed, and another connection's, when it is used here
        self._over = Event()
        self._thread: Thread | None = None
        self._known: dict[str, float] = {}  # addresses with such a receiver, and until when, monotonic; oldest first

    def start(self) -> None:
        """Begins to look, if it does not. Called by the thread that owns the transport. macOS tells no such time. If
        there is no memory for one more thread, requests go on without it until the next call."""
        is_looking = self._thread is not None and self._thread.is_alive()
        if not is_looking and hasattr(time, "pthread_getcpuclockid"):
            clock = time.pthread_getcpuclockid(get_ident())
            thread = Thread(target=self._look, args=(clock,), name="long reads", daemon=True)
            with suppress(RuntimeError, MemoryError):
                thread.start()
                self._thread = thread

    def buffer(self, address: str) -> int:
        """How many bytes the kernel may keep for a connection to this address: curl reads all there is before others
        have a turn."""
        return _KNOWN_BUFFER if address in self._known else _BUFFER

    def begin(self, descriptor: int) -> None:
        """Curl begins to work on this connection."""
        self._turn += 1
        self._descriptor = descriptor

    def end(self) -> None:
        """Curl has returned."""
        with self._lock:
            self._descriptor = -1

    def close(self) -> None:
        """Ends the looks."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, clock: int) -> None:
        turn, began = 0, 0.0
        while not self._over.wait(_LOOKS_OFTEN if self._known else _LOOKS_EVERY):
            self._forget()
            with self._lock:
                try:
                    used = time.clock_gettime(clock)
                except OSError:  # the owner has ended: curl works on nothing until there is another one
                    return
                if self._descriptor < 0 or self._turn != turn:
                    turn, began = self._turn, used
                elif used - began > (KNOWN_CPU if self._known else MOST_CPU):
                    self._judge(self._descriptor, used - began)

    def _judge(self, descriptor: int, used: float) -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            address = connection.getpeername()[0]
            if used > MOST_CPU or address in self._known:
                connection.shutdown(socket.SHUT_RD)
                self._known.pop(address, None)
                self._known[address] = time.monotonic() + _REMEMBERED

    def _forget(self) -> None:
        while self._known:
            oldest = next(iter(self._known))
            if self._known[oldest] > time.monotonic() and len(self._known) <= _MOST_REMEMBERED:
                return
            del self._known[oldest]
