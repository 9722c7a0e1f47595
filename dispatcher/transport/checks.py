"""What may be sent at all: header injection and malformed URLs are refused here, before any transport sees them."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from dispatcher.transport.exchange import Request

# The transport controls the framing of the message and the connection; callers may not set headers for either.
RESERVED_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)

_METHOD = re.compile(r"[A-Z]{1,20}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # one byte a character, no control characters: no CR, LF or NUL
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][\x21\x22\x24-\x7e]*)?(?:\#[\x21-\x7e]*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What a connection is made to. `host` is lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """The parts of a URL: where to connect, the `Host` header, and the path with the query."""

    origin: Origin
    host_header: str
    path: str


@lru_cache(4_096)  # one webhook's URL is split for each of its requests
def split_url(url: str) -> Target:
    """Splits an absolute http or https URL; a fragment is left out.

    Raises ValueError (without the URL, which may contain a secret) for anything else: other schemes, a user name or
    password, blanks, control characters, characters outside ASCII.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("the URL is not an absolute http or https URL without user name, in printable ASCII")
    scheme, host, port_text, path = match.groups()
    scheme, host = scheme.lower(), host.lower()
    port = int(port_text) if port_text else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError("the URL has a port outside 1 to 65535")
    if path is None:
        path = "/"
    elif path[0] == "?":
        path = "/" + path
    host_header = host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return Target(Origin(scheme, host.strip("[]"), port), host_header, path)


def check_request(request: Request) -> None:
    """Raises ValueError, naming the part but never quoting it, if the request cannot be sent as it is."""
    if not _METHOD.fullmatch(request.method):
        raise ValueError("the method must be in capital letters")
    split_url(request.url)
    check_headers(request.headers)
    if not (0 < request.connect_timeout < 86_400 and 0 < request.timeout < 86_400):
        raise ValueError("timeouts must be more than 0 seconds and less than a day")


def check_headers(headers: Sequence[tuple[str, str]]) -> None:
    """Raises ValueError, naming the header but never quoting its value, if these headers cannot be sent together."""
    _check_names(tuple([name for name, _ in headers]))
    if not _VALUE.fullmatch("".join([value for _, value in headers])):
        name = next(name for name, value in headers if not _VALUE.fullmatch(value))
        raise ValueError(f"the value of header {name} has characters that are not allowed")


@lru_cache(256)  # they are the same for every request of a webhook
def _check_names(given: tuple[str, ...]) -> None:
    if not all(map(_NAME.fullmatch, given)):
        raise ValueError("a header name has characters that are not allowed")
    names = {name.lower() for name in given}
    if len(names) != len(given):
        raise ValueError("a header name occurs twice")
    if not names.isdisjoint(RESERVED_HEADERS):
        raise ValueError(f"headers that only the transport sets: {', '.join(sorted(names & RESERVED_HEADERS))}")
