"""The port through which requests leave: what the loop needs of a transport, and the bounds that all of them hold."""

from typing import Literal, Protocol

from dispatcher.transport.exchange import Exchange, Request

BODY_CAP = 64 * 1024  # bytes of an answer's body that are read, counted after decompression
HEAD_CAP = 64 * 1024  # bytes of an answer's status line and headers
HEAD_LINES = 200  # lines of an answer's head
BLANKS = " \t"  # around names and values; other characters that Python would strip are a part of them
INTERIM_ANSWERS = 50  # 1xx answers that are read over before the final one

TlsVersion = Literal["1.2", "1.3"]


class Transport(Protocol):
    """Sends requests, many at once, and gives each back exactly once with what came of it.

    One thread owns a transport: it alone calls `send`, `wait` and `close`. Make it in the process that uses it (after
    a fork), for connections must not be shared by processes. Faults of networks and receivers never raise: they are
    `Failure`s in the exchange.
    """

    @property
    def capacity(self) -> int:
        """How many requests may be in flight: handed to `send` and not yet returned by `wait`."""
        ...

    def send(self, request: Request) -> None:
        """Hands a request over; never blocks. It may need `wait` to get on the wire.

        Raises ValueError for a request that must not be put on a wire (see `transport.checks`) and RuntimeError
        beyond `capacity` or after `close`: mistakes of the caller, the request is not in flight then.
        """
        ...

    def wait(self, timeout: float) -> list[Exchange]:
        """All exchanges that have ended; waits up to `timeout` seconds for the first one. Empty when none did."""
        ...

    def close(self) -> None:
        """Closes all connections and ends all threads. What is still in flight is abandoned, not returned."""
        ...
