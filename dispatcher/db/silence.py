"""Ends connections whose server is silent.

The server cancels a statement that takes too long, and the kernel notices a machine that is gone. Neither helps if the
server stands still, or is gone behind a proxy: what is sent to it is acknowledged all the same, and the driver has no
limit of its own. So a thread of the process looks at the connections that wait for an answer, and closes the socket of
one that has waited for too long: the driver then sees a lost connection.
"""

import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable
from math import inf
from time import monotonic, sleep
from typing import Any

import psycopg2
from psycopg2 import extensions

log = logging.getLogger("dispatcher.db")

LOOK_EVERY = 0.5


class Watched(extensions.connection):  # type: ignore[misc]
    """A connection that waits for an answer for `longest` seconds at most. `asked_at` is since when it waits,
    monotonic."""

    longest = inf
    asked_at: float | None = None

    def commit(self) -> None:
        self.asked_at = monotonic()
        try:
            super().commit()
        finally:
            self.asked_at = None

    def rollback(self) -> None:
        self.asked_at = monotonic()
        try:
            super().rollback()
        finally:
            self.asked_at = None


class WatchedCursor(extensions.cursor):  # type: ignore[misc]
    """Its connection waits while it executes something. It reads whole results, so nothing else waits."""

    connection: Watched

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's name
        connection = self.connection
        connection.asked_at = monotonic()
        try:
            super().execute(query, vars)
        finally:
            connection.asked_at = None


def connecting(longest: float, cursors: type[WatchedCursor] = WatchedCursor) -> Callable[..., Watched]:
    """What makes connections with such cursors, for the driver."""

    def connect(*given: Any, **named: Any) -> Watched:
        connection = Watched(*given, **named)
        connection.longest, connection.cursor_factory = longest, cursors
        _watch.add(connection)
        return connection

    return connect


class _Watch:
    """The connections of this process, and the thread that looks at them while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[Watched] = weakref.WeakSet()
        self._is_kept = False

    def add(self, connection: Watched) -> None:
        with self._lock:
            self._connections.add(connection)
            if not self._is_kept:
                try:
                    threading.Thread(target=self._keep, name="dispatcher-silence", daemon=True).start()
                except RuntimeError:  # no thread can be started: the next connection has another try
                    return
                self._is_kept = True

    def _keep(self) -> None:
        while self._look():
            sleep(LOOK_EVERY)

    def _look(self) -> bool:
        """Whether there is something to look at."""
        with self._lock:
            connections = [connection for connection in self._connections if not connection.closed]
            self._is_kept = bool(connections)
        ended = sum(map(_end_silent, connections))
        if ended:
            log.warning("the database was silent for too long: connections closed: %d", ended)
        return bool(connections)


def _end_silent(connection: Watched) -> bool:
    """Whether it has waited for too long, and waits no more."""
    asked_at = connection.asked_at
    if asked_at is None or monotonic() <= asked_at + connection.longest:
        return False
    try:
        # A copy of the descriptor: the number may be another connection's by the time it is used.
        with socket.socket(fileno=os.dup(connection.fileno())) as its_socket:
            if connection.asked_at != asked_at:
                return False
            its_socket.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg2.Error):  # it has ended meanwhile
        return False
    return True


_watch = _Watch()


def _begin_anew() -> None:
    """A forked child has no connections of its own, and no thread."""
    global _watch  # noqa: PLW0603 - as `os.register_at_fork` needs it
    _watch = _Watch()


os.register_at_fork(after_in_child=_begin_anew)
