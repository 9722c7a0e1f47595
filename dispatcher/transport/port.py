"""The port through which requests leave: what the loop needs from a transport, and the limits that all of them keep."""

from collections.abc import Set
from typing import Literal, Protocol

from dispatcher.transport.exchange import Exchange, Request

BODY_CAP = 64 * 1024  # bytes of an answer's body that are read, counted after decompression
HEAD_CAP = 64 * 1024  # bytes of an answer's status line and headers
HEAD_LINES = 200  # lines of an answer's head
ANSWER_CAP = 512 * 1024  # bytes of an answer as they come: head, body, and whatever there is around and between them
TLS_CAP = 64 * 1024  # bytes of TLS that come with an answer, beyond what they say of it
ANSWER_PIECES = 1000  # lines and pieces of a body that an answer comes in: each costs as much as many bytes
HASTY_READS = 32  # of one answer; from then on it is read every REST_SECONDS, however often something comes
REST_SECONDS = 0.02
BLANKS = " \t"  # around names and values; other characters that Python would strip are a part of them
DNS_LOOKUPS = 64  # names that one transport looks up at once
INTERIM_ANSWERS = 50  # 1xx answers that are skipped before the final one

TlsVersion = Literal["1.2", "1.3"]


class Transport(Protocol):
    """Sends requests, many at once, and returns each exactly once with its outcome.

    One thread owns a transport: it alone calls `send`, `wait` and `close`. Make it in the process that uses it (after
    a fork), because processes must not share connections. Faults of networks and receivers are never raised: they are
    `Failure`s in the exchange.
    """

    @property
    def capacity(self) -> int:
        """How many requests may be in flight: handed to `send` and not yet returned by `wait`."""
        ...

    def send(self, request: Request) -> None:
        """Hands a request over; never blocks. It may be sent only during the next `wait`.

        Raises ValueError for a request that must not be sent (see `transport.checks`) and RuntimeError beyond
        `capacity` or after `close`. These are mistakes of the caller; the request is then not in flight.
        """
        ...

    def wait(self, timeout: float) -> list[Exchange]:
        """All exchanges that have ended; waits up to `timeout` seconds for the first one. Empty when none did."""
        ...

    def watch(self, descriptors: Set[int]) -> None:
        """Has each `wait` end as well when one of these can be read, in place of those named before. Reading is left to
        the caller, who names anew before the next `wait` when one was closed."""
        ...

    def addresses(self) -> list[tuple[str, str]]:
        """Which address the host of a request led to, by the request's id: of those that found out since the last call.
        A host with several addresses counts as the first of them that may be called."""
        ...

    def limit_addresses(self, most: int) -> None:
        """From now on at most so many requests are in flight to one address. What is on its way stays."""
        ...

    def shrink(self) -> None:
        """Lets go of the memory that is kept ready for many requests at once. Kept-alive connections stay, and so does
        whatever is in flight."""
        ...

    def close(self) -> None:
        """Closes all connections and ends all threads. What is still in flight is abandoned, not returned."""
        ...
