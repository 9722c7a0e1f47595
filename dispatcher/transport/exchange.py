"""What is sent to a receiver and its outcome, as values: every transport takes and returns these.

They are named tuples because they are made for each request: one costs a fifth of a frozen dataclass.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

CONNECT_SECONDS = 10.0
# Even if time is scaled, timeouts are not shorter: a busy machine must not look like a receiver that hangs.
MIN_CONNECT_SECONDS, MIN_SECONDS = 1.0, 2.0


class FailureKind(StrEnum):
    """Why there is no complete answer. The value is what notices, logs and records show."""

    DNS = "dns"  # the host name was not resolved, or not in the time to connect
    CONNECTION_REFUSED = "connection_refused"  # nothing listens there
    ADDRESS_REFUSED = "address_refused"  # by the egress policy: all addresses, or the scheme, host or port
    UNREACHABLE = "unreachable"  # no route to the address
    CONNECT_TIMEOUT = "connect_timeout"  # no connection, TLS included, within the time to connect
    TLS = "tls"  # certificate not trusted, wrong name, expired; or no TLS spoken there
    TIMEOUT = "timeout"  # connected, but no complete answer within the deadline
    CONNECTION_RESET = "connection_reset"  # the connection was lost before a complete answer
    BROKEN_ANSWER = "broken_answer"  # not HTTP, interim answers only, a bad chunk, a short body
    NOT_SENT = "not_sent"  # because of us: too many DNS lookups, a full address, no thread, or too late
    HEADERS_TOO_LARGE = "headers_too_large"  # the head of the answer is over 64 KiB or has too many lines
    ANSWER_TOO_LARGE = "answer_too_large"  # over 512 KiB with all around head and body, or too much TLS
    TOKEN = "token"  # noqa: S105 - no token could be fetched to show to the receiver, so it was not called


class Request(NamedTuple):
    """One HTTP request: made, signed and checked by the caller, sent without changes.

    `url` is absolute, http or https, ASCII, without user name and password. The transport adds `Host` and
    `Content-Length`, nothing else. `connect_timeout` (DNS lookup, connection and TLS) and `timeout` (the whole answer,
    connecting included) are seconds. Both start again for a name that had to wait for its turn to be looked up (at most
    `connect_timeout`): the transport causes that wait, not the receiver. With `https_only` plain http is refused.
    Accounts take turns with DNS lookups: `account` is the id of the one that the request is for. With `anew` the name
    is looked up and a connection is opened for it, whatever is known or kept.
    """

    id: str  # a UUID
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    connect_timeout: float
    timeout: float
    https_only: bool = False
    account: str = ""
    anew: bool = False


class Reply(NamedTuple):
    """A complete answer: 101 or 200 to 999, whatever its body is like.

    `headers` are as they were received, in order, with repetitions. `body` is what was read of it, decoded, at most
    64 KiB: `body_cut` says that there was more. With `body_unreadable` (the content encoding is unknown, or the body
    does not match it) it is the bytes as they were received.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_cut: bool = False
    body_unreadable: bool = False


class Failure(NamedTuple):
    """No complete answer. `detail` is short and never holds a URL, a credential, a header or a body. `cause`: of
    `TOKEN`, why the token server gave no answer."""

    kind: FailureKind
    detail: str
    cause: FailureKind | None = None


class Exchange(NamedTuple):
    """A request that has ended. `started_at` is the wall clock (aware, UTC) when sending began, for the records;
    `duration` is measured by the monotonic clock. `looked_up`: the host's name was looked up for it; `connected`: a
    connection was opened for it, or at least tried."""

    request: Request
    outcome: Reply | Failure
    started_at: datetime
    duration: timedelta
    looked_up: bool = False
    connected: bool = False
