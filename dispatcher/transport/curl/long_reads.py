"""Ends a read that goes on and on. OpenSSL takes one message of TLS after the other, session tickets say, before it
gives anything back, and takes much longer for one than its sender. Meanwhile nobody else has a turn, and no deadline is
looked at. Nothing but the end of the connection ends it, so a thread looks for it and closes it for reading."""

import os
import socket
import time
from contextlib import suppress
from threading import Event, Lock, Thread, get_ident

MOST_CPU = 0.2  # seconds that curl may compute on one connection before others have a turn
_LOOKS_EVERY = 0.1  # seconds


class LongReads:
    """Knows which connection curl works on. It goes by the CPU time of the thread that owns the transport: a machine
    that is busy or stands still is nobody's fault."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._turn = 0
        self._lock = Lock()  # so that a descriptor is not closed, and another connection's, when it is used here
        self._over = Event()
        self._thread: Thread | None = None

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
        while not self._over.wait(_LOOKS_EVERY):
            with self._lock:
                try:
                    used = time.clock_gettime(clock)
                except OSError:  # the owner has ended: curl works on nothing until there is another one
                    return
                if self._descriptor < 0 or self._turn != turn:
                    turn, began = self._turn, used
                elif used - began > MOST_CPU:
                    _close_for_reading(self._descriptor)


def _close_for_reading(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RD)
